#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_text.h"

// The values of the template language: Python's, as far as templates can see them. Objects live in
// the Heap of one rendering (or of the parsed template, for literals) until it ends, so values are
// plain pointers and cycles through namespaces do not matter.
namespace dinfer::jinja {

class Object;
class Runtime;
struct Dict;
struct Sequence;
struct Undefined;

enum class Kind : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  big,  // an integer of the data above int64's range: can be printed and compared, not computed
        // with
  real,
  string,
  sequence,
  dict,
  object
};

class Value {
 public:
  Value() : kind_(Kind::none), integer_(0) {}
  explicit Value(bool value) : kind_(Kind::boolean), boolean_(value) {}
  explicit Value(int64_t value) : kind_(Kind::integer), integer_(value) {}
  explicit Value(uint64_t value) : kind_(Kind::big), big_(value) {}
  explicit Value(double value) : kind_(Kind::real), real_(value) {}
  explicit Value(const Text* value) : kind_(Kind::string), text_(value) {}
  explicit Value(const Undefined* value) : kind_(Kind::undefined), undefined_(value) {}
  explicit Value(Sequence* value) : kind_(Kind::sequence), sequence_(value) {}
  explicit Value(Dict* value) : kind_(Kind::dict), dict_(value) {}
  explicit Value(Object* value) : kind_(Kind::object), object_(value) {}
  explicit Value(const char*) = delete;  // would become a bool

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_integral() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }  // as int64
  bool is_number() const { return is_integral() || kind_ == Kind::real || kind_ == Kind::big; }

  bool boolean() const { return boolean_; }
  int64_t integer() const { return kind_ == Kind::boolean ? int64_t{boolean_} : integer_; }
  uint64_t big() const { return big_; }
  double real() const { return real_; }
  const Text& text() const { return *text_; }
  std::string_view view() const { return text_->bytes; }
  const Undefined& undefined() const { return *undefined_; }
  Sequence& sequence() const { return *sequence_; }
  Dict& dict() const { return *dict_; }
  Object& object() const { return *object_; }

  // Python's `is`.
  bool same(const Value& other) const {
    if (kind_ != other.kind_) return false;
    if (kind_ == Kind::none) return true;
    if (kind_ == Kind::boolean) return boolean_ == other.boolean_;
    return big_ == other.big_;
  }

 private:
  Kind kind_;
  union {
    bool boolean_;
    int64_t integer_;
    uint64_t big_;
    double real_;
    const Text* text_;
    const Undefined* undefined_;
    Sequence* sequence_;
    Dict* dict_;
    Object* object_;
  };
};

struct Undefined {
  std::string message;  // of the error that any use but printing, testing and iterating raises
};

enum class SequenceKind : uint8_t {
  list,
  tuple,
  range,
  dict_keys,
  dict_values,
  dict_items,
  iterator
};

struct Sequence {
  SequenceKind kind = SequenceKind::list;
  std::vector<Value> items;
  size_t next = 0;                        // iterator: items before this one are used up
  int64_t start = 0, stop = 0, step = 1;  // range
  bool group = false;                     // tuple of the groupby filter: has .grouper and .list
};

// Order of dictionary keys in Dict::index: equal where Python's keys are.
struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  std::map<Value, size_t, KeyLess> index;        // of entries, once there are more than a few

  const Value* find(const Value& key) const;  // the key must have a key_size
  const Value* find(std::string_view key) const;
  void set(const Value& key, const Value& value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;

  const Value* find(std::string_view name) const {
    for (const auto& [key, value] : named) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

// Things with attributes of their own, and everything that can be called.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual std::optional<Value> attribute(Runtime&, std::string_view) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, const Arguments& arguments);
};

// What the template did wrong; `line` -1 stands for the line being rendered.
class TemplateError : public std::runtime_error {
 public:
  explicit TemplateError(const std::string& message, int line = -1)
      : std::runtime_error(message), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

std::string_view type_name(const Value& value);  // Python's name of its type
// Bytes that comparing the value as a key of a dictionary takes at most; none for what cannot be a
// key: mutable values, and tuples of more than a few hundred values.
std::optional<size_t> key_size(const Value& value);

}  // namespace dinfer::jinja
