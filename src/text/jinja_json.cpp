// json.dumps of Python, https://docs.python.org/3/library/json.html
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return repr_of_real(value);
}

void append_escape(std::string& out, uint32_t code) {
  if (code >= 0x10000) {
    append_escape(out, 0xD800 + ((code - 0x10000) >> 10));
    code = 0xDC00 + ((code - 0x10000) & 0x3FF);
  }
  out += fmt::format("\\u{:04x}", code);
}

std::string json_string(std::string_view bytes, bool ensure_ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    switch (c.code) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c.code < 0x20 || (ensure_ascii && c.code >= 0x7F)) {
          append_escape(out, static_cast<uint32_t>(c.code));
        } else {
          out += bytes.substr(at, c.size);
        }
    }
    at += c.size;
  }
  return out + '"';
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style)
      : runtime_(runtime), style_(style), out_(runtime.builder()) {}

  void write(const Value& value) {
    const Runtime::Nesting nesting(runtime_);
    runtime_.charge(1);
    switch (value.kind()) {
      case Kind::none:
        return out_.add("null");
      case Kind::boolean:
        return out_.add(value.boolean() ? "true" : "false");
      case Kind::integer:
        return out_.add(std::to_string(value.integer()));
      case Kind::big:
        return out_.add(std::to_string(value.big()));
      case Kind::real:
        return out_.add(json_number(value.real()));
      case Kind::string:
        runtime_.charge_bytes(4 * value.view().size());
        return out_.add(json_string(value.view(), style_.ensure_ascii));
      case Kind::dict:
        return write_dict(value.dict());
      case Kind::sequence:
        if (value.sequence().kind == SequenceKind::list ||
            value.sequence().kind == SequenceKind::tuple) {
          return write_array(value.sequence().items);
        }
        break;
      default:
        break;
    }
    throw TemplateError("Object of type " + std::string(type_name(value)) +
                        " is not JSON serializable");
  }

  TextBuilder& out() { return out_; }

 private:
  void new_line() {
    if (!style_.pretty) return;
    out_.add("\n");
    runtime_.charge_bytes(level_ * style_.indent.size());
    out_.fill(level_, style_.indent);
  }

  void write_array(const std::vector<Value>& items) {
    if (items.empty()) return out_.add("[]");
    out_.add("[");
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      write(items[i]);
    }
    --level_;
    new_line();
    out_.add("]");
  }

  std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        return std::string(key.view());
      case Kind::none:
        return "null";
      case Kind::boolean:
        return key.boolean() ? "true" : "false";
      case Kind::integer:
        return std::to_string(key.integer());
      case Kind::big:
        return std::to_string(key.big());
      case Kind::real:
        return json_number(key.real());
      default:
        throw TemplateError("keys must be str, int, float, bool or None, not " +
                            std::string(type_name(key)));
    }
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) return out_.add("{}");
    std::vector<std::pair<Value, Value>> entries = dict.entries;
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto& a, const auto& b) {
        return compare(runtime_, CompareOp::less, a.first, b.first);
      });
    }
    out_.add("{");
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      out_.add(json_string(key_text(entries[i].first), style_.ensure_ascii));
      out_.add(style_.key_separator);
      write(entries[i].second);
    }
    --level_;
    new_line();
    out_.add("}");
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  TextBuilder out_;
  size_t level_ = 0;
};

}  // namespace

Value to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  writer.write(value);
  Text text = writer.out().take();
  text.data = {{0, text.bytes.size()}};
  return runtime.text(std::move(text));
}

}  // namespace dinfer::jinja
