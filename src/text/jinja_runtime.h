#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "text/chat_template.h"
#include "text/jinja_value.h"

namespace dinfer::jinja {

// Owns all values of one rendering, or the literals of one parsed template.
class Heap {
 public:
  const Text* text(Text text) { return &texts_.emplace_back(std::move(text)); }
  Sequence* sequence(Sequence sequence) { return &sequences_.emplace_back(std::move(sequence)); }
  Dict* dict() { return &dicts_.emplace_back(); }
  const Undefined* undefined(std::string message) {
    return &undefined_.emplace_back(Undefined{std::move(message)});
  }
  template <class T, class... Args>
  T* object(Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* pointer = object.get();
    objects_.push_back(std::move(object));
    return pointer;
  }

 private:
  std::deque<Text> texts_;
  std::deque<Sequence> sequences_;
  std::deque<Dict> dicts_;
  std::deque<Undefined> undefined_;
  std::vector<std::unique_ptr<Object>> objects_;
};

// What one rendering uses: its heap, its budget, the place it is at. Everything that takes time or
// memory in proportion to its operands charges for it here, so that no template can hold a process
// for more than a moment.
class Runtime {
 public:
  Runtime(const TemplateBudget& budget, int64_t now) : budget_(budget), now_(now) {}
  Runtime(const Runtime&) = delete;

  void charge(uint64_t steps) {
    steps_ += steps;
    if (steps_ > budget_.steps) out_of_steps();
  }
  void charge_bytes(size_t bytes) { charge(bytes / kBytesPerStep); }

  TextBuilder builder() const { return TextBuilder(budget_.output_bytes); }
  Value text(Text text);
  Value text(std::string_view bytes, bool data = false);
  Value text(TextBuilder& builder) { return text(builder.take()); }
  Value slice(const Text& text, size_t begin, size_t end);  // bytes [begin, end)
  Value sequence(SequenceKind kind, std::vector<Value> items);
  Value list(std::vector<Value> items) { return sequence(SequenceKind::list, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(SequenceKind::tuple, std::move(items)); }
  Value iterator(std::vector<Value> items) {
    return sequence(SequenceKind::iterator, std::move(items));
  }
  Dict* dict();
  // A value that cannot be a key is an error.
  void set(Dict& dict, const Value& key, const Value& value);
  const Value* find(const Dict& dict, const Value& key);
  Value undefined(std::string message);
  template <class T, class... Args>
  T* object(Args&&... args) {
    charge(1 + sizeof(T) / kBytesPerStep);
    return heap_.object<T>(std::forward<Args>(args)...);
  }

  const TemplateBudget& budget() const { return budget_; }
  int64_t now() const { return now_; }
  int line() const { return line_; }
  void at_line(int line) { line_ = line; }

  // Stands for one level of recursion, of the evaluator or through a nested value.
  class Nesting {
   public:
    explicit Nesting(Runtime& runtime) : depth_(runtime.depth_) {
      if (++depth_ > kLevelsPerDepth * runtime.budget_.depth) {
        --depth_;
        throw TemplateError("nested too deeply");
      }
    }
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;

   private:
    int& depth_;
  };

 private:
  static constexpr size_t kBytesPerStep = 128;
  static constexpr int kLevelsPerDepth = 15;  // a macro's call takes about this many

  [[noreturn]] void out_of_steps() const;
  void charge_key(const Value& key);

  const TemplateBudget budget_;
  const int64_t now_;
  Heap heap_;
  uint64_t steps_ = 0;
  int depth_ = 0;
  int line_ = 1;
};

}  // namespace dinfer::jinja
