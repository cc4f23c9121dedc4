/* Reads an object of JSON member by member: as much of a parser as the configuration of a plugin needs.
 *
 * Tollgate hands over JSON that is well formed, so nothing here reports a mistake in it; whatever it is given,
 * it stays within the text. Texts are decoded in place, so that nothing has to be freed.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct json { uint8_t *at, *end; };
struct json_text { uint8_t *ptr; size_t len; };
struct json_member { struct json_text key, text; bool is_text; };

static inline uint8_t json_peek(struct json *json) {
  while (json->at < json->end && strchr(" \t\r\n", *json->at)) json->at++;
  return json->at < json->end ? *json->at : 0;
}

static inline bool json_take(struct json *json, uint8_t wanted) {
  if (json_peek(json) != wanted) return false;
  json->at++;
  return true;
}

static inline uint32_t json_hex(struct json *json) {
  uint32_t code = 0;
  for (int digit = 0; digit < 4 && json->at < json->end; digit++) {
    uint8_t c = *json->at++;
    code = code << 4 | ((c <= '9' ? c : c + 9u) & 0xf);
  }
  return code;
}

static inline uint8_t *json_utf8(uint8_t *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = code;
    return to;
  }
  if (code >= 0x10000) *to++ = 0xf0 | code >> 18, *to++ = 0x80 | (code >> 12 & 0x3f);
  else if (code >= 0x800) *to++ = 0xe0 | code >> 12;
  else {
    *to++ = 0xc0 | code >> 6, *to++ = 0x80 | (code & 0x3f);
    return to;
  }
  *to++ = 0x80 | (code >> 6 & 0x3f), *to++ = 0x80 | (code & 0x3f);
  return to;
}

/* A text, whose quotation mark is next. An escape is never shorter than what it stands for. */
static inline struct json_text json_string(struct json *json) {
  static const char escapes[] = "b\bf\fn\nr\rt\t";
  uint8_t *begin = ++json->at, *to = begin;
  while (json->at < json->end && *json->at != '"') {
    uint8_t c = *json->at++;
    if (c != '\\' || json->at == json->end) {
      *to++ = c;
      continue;
    }
    c = *json->at++;
    if (c == 'u') {
      uint32_t code = json_hex(json);
      if (code >> 10 == 0x36 && json->end - json->at >= 6) { /* the first half of a pair */
        json->at += 2;
        code = 0x10000 + ((code & 0x3ff) << 10) + (json_hex(json) & 0x3ff);
      }
      to = json_utf8(to, code);
    } else {
      const char *escape = strchr(escapes, c);
      *to++ = escape && c != 0 ? (uint8_t)escape[1] : c;
    }
  }
  if (json->at < json->end) json->at++;
  return (struct json_text){begin, (size_t)(to - begin)};
}

/* Passes over a value, with all that is in it. */
static inline void json_skip(struct json *json) {
  int depth = 0;
  do {
    uint8_t c = json_peek(json);
    if (c == 0) return;
    if (c == '"') {
      json_string(json);
      continue;
    }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') depth--;
    json->at++;
    if (depth == 0 && c != '}' && c != ']') /* a number or a word */
      while (json->at < json->end && !strchr(",}] \t\r\n", *json->at)) json->at++;
  } while (depth > 0);
}

/* Begins with an object. */
static inline struct json json_object(uint8_t *ptr, size_t len) {
  struct json json = {ptr, ptr + len};
  json_take(&json, '{');
  return json;
}

/* The object's next member, if there is one. Of a value that is no text, nothing is told. */
static inline bool json_next(struct json *json, struct json_member *member) {
  json_take(json, ',');
  if (json_peek(json) != '"') return false;
  member->key = json_string(json);
  json_take(json, ':');
  member->is_text = json_peek(json) == '"';
  if (member->is_text) member->text = json_string(json);
  else json_skip(json);
  return true;
}

static inline bool json_equals(struct json_text text, const char *word) {
  return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

#endif
