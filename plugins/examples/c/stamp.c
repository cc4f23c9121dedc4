/* Stamps log records, marks those whose body holds an @, discards those of one level and sends those of
 * another to an archive.
 *
 *     [plugin.stamp]
 *     component = "stamp.wasm"
 *     config = { stamp = "tollgate", drop_level = "debug", archive_level = "error" }
 *
 * Two rules of the bindings: what a function gets or is given is its own, to be freed; what it returns is
 * freed by the caller's side, so it must come from malloc. What is passed to a function of the host stays ours.
 */
#include "json.h"
#include "plugin.h" /* made by wit-bindgen from the contract */

#include <stdio.h>
#include <stdlib.h>

/* Names as short as the plugin is. */
#define VALUE(kind) TOLLGATE_PLUGIN_TYPES_VALUE_##kind
#define TEXT(literal) ((plugin_string_t){(uint8_t *)(literal), sizeof(literal) - 1})
typedef tollgate_plugin_types_column_t column_t;
typedef tollgate_plugin_types_error_t error_t;
typedef tollgate_plugin_types_rows_t rows_t;
typedef tollgate_plugin_types_value_t value_t;

#define RECORDS TOLLGATE_PLUGIN_TYPES_LEVEL_RECORD
#define ATTRIBUTE(key) {.tag = TOLLGATE_PLUGIN_TYPES_TARGET_ATTRIBUTE, .val.attribute = TEXT(key)}
#define BUILT_IN(field) \
  {.tag = TOLLGATE_PLUGIN_TYPES_TARGET_BUILT_IN, .val.built_in = TOLLGATE_PLUGIN_TYPES_FIELD_##field}

static column_t processed_by = {RECORDS, ATTRIBUTE("processed_by")};
static column_t has_at = {RECORDS, ATTRIBUTE("has_at")};
static column_t level = {RECORDS, ATTRIBUTE("level")};
static column_t body = {RECORDS, BUILT_IN(BODY)};
static rows_t all = {.tag = TOLLGATE_PLUGIN_TYPES_ROWS_ALL};

/* The configuration. Texts point into `config`, which `configure` keeps. */
static plugin_string_t stamp, drop_level, archive_level;

static rows_t only(plugin_list_u32_t rows) {
  return (rows_t){.tag = TOLLGATE_PLUGIN_TYPES_ROWS_ONLY, .val.only = rows};
}

static value_t text(plugin_string_t text) {
  return (value_t){.tag = VALUE(TEXT), .val.text = text};
}

/* A mistake at a key of the configuration. In a JSON pointer `~` and `/` are escaped. */
static bool mistake(error_t *err, struct json_text key, const char *message) {
  uint8_t *pointer = malloc(1 + 2 * key.len), *to = pointer;
  *to++ = '/';
  for (size_t i = 0; i < key.len; i++) {
    uint8_t c = key.ptr[i];
    if (c == '~' || c == '/') *to++ = '~', *to++ = c == '~' ? '0' : '1';
    else *to++ = c;
  }
  err->tag = TOLLGATE_PLUGIN_TYPES_ERROR_BAD_CONFIG;
  err->val.bad_config.pointer = (plugin_string_t){pointer, (size_t)(to - pointer)};
  plugin_string_dup(&err->val.bad_config.message, message);
  return false;
}

bool exports_tollgate_plugin_handler_configure(exports_tollgate_plugin_handler_setup_t *setup,
                                               exports_tollgate_plugin_handler_registration_t *ret,
                                               exports_tollgate_plugin_handler_error_t *err) {
  struct json config = json_object(setup->config.ptr, setup->config.len);
  struct json_member member;
  while (json_next(&config, &member)) {
    plugin_string_t *setting = json_equals(member.key, "stamp")           ? &stamp
                               : json_equals(member.key, "drop_level")    ? &drop_level
                               : json_equals(member.key, "archive_level") ? &archive_level
                                                                          : NULL;
    if (!setting)
      return mistake(err, member.key, "no such setting; there are stamp, drop_level and archive_level");
    if (!member.is_text || member.text.len == 0)
      return mistake(err, member.key, "must be a text that is not empty");
    *setting = (plugin_string_t){member.text.ptr, member.text.len};
  }
  if (stamp.len == 0)
    return mistake(err, (struct json_text){(uint8_t *)"stamp", 5}, "must be a text that is not empty");
  plugin_string_free(&setup->tenant);
  plugin_string_free(&setup->plugin);

  *ret = (exports_tollgate_plugin_handler_registration_t){0};
  ret->others = EXPORTS_TOLLGATE_PLUGIN_HANDLER_OTHERWISE_PASS;
  ret->signals.len = 1;
  ret->signals.ptr = malloc(1);
  *ret->signals.ptr = TOLLGATE_PLUGIN_TYPES_SIGNAL_LOGS;
  if (archive_level.len > 0) {
    ret->destinations.len = 1;
    ret->destinations.ptr = malloc(sizeof *ret->destinations.ptr);
    plugin_string_dup(ret->destinations.ptr, "archive");
  }
  return true;
}

/* The records whose attribute `level` is this one. */
static bool find_level(plugin_string_t wanted, plugin_list_u32_t *found, error_t *err) {
  tollgate_plugin_types_test_t test = {.tag = TOLLGATE_PLUGIN_TYPES_TEST_EQUALS, .val.equals = text(wanted)};
  return tollgate_plugin_batch_find(&level, &test, &all, found, err);
}

/* The records whose body holds an @. All bodies come in one buffer: cell `i` has its begin and its end at
 * `offsets[2 * i]`; without one, both are 0xffffffff, and nothing lies between them. */
static bool find_at(plugin_list_u32_t *found, error_t *err) {
  tollgate_plugin_types_cells_t cells;
  if (!tollgate_plugin_batch_read_text(&body, &all, &cells, err)) return false;
  size_t count = cells.offsets.len / 2;
  *found = (plugin_list_u32_t){malloc(count * sizeof(uint32_t)), 0};
  for (size_t i = 0; i < count; i++) {
    uint32_t begin = cells.offsets.ptr[2 * i], end = cells.offsets.ptr[2 * i + 1];
    if (begin < end && memchr(cells.data.ptr + begin, '@', end - begin)) found->ptr[found->len++] = i;
  }
  tollgate_plugin_types_cells_free(&cells);
  return true;
}

/* Writes a line to Tollgate's log: how many bodies hold an @, and of which service the first resource is. */
static bool tell(size_t marked, error_t *err) {
  tollgate_plugin_types_target_t service_name = ATTRIBUTE("service.name");
  tollgate_plugin_batch_option_value_t cell;
  if (!tollgate_plugin_batch_get_cell(TOLLGATE_PLUGIN_TYPES_LEVEL_RESOURCE, 0, &service_name, &cell, err))
    return false;
  plugin_string_t service = TEXT("an unnamed service");
  /* No name is cut: half a letter is no UTF-8, and ends the call. */
  if (cell.is_some && cell.val.tag == VALUE(TEXT) && cell.val.val.text.len <= 100) service = cell.val.val.text;
  char buffer[200];
  int length = snprintf(buffer, sizeof buffer, "%zu bodies of %.*s hold an @", marked, (int)service.len,
                        (char *)service.ptr);
  plugin_string_t line = {(uint8_t *)buffer, (size_t)length};
  tollgate_plugin_host_log(TOLLGATE_PLUGIN_HOST_SEVERITY_INFO, &line);
  tollgate_plugin_batch_option_value_free(&cell);
  return true;
}

bool exports_tollgate_plugin_handler_process(exports_tollgate_plugin_handler_verdict_t *ret,
                                             exports_tollgate_plugin_handler_error_t *err) {
  plugin_list_u32_t found;
  rows_t rows;

  value_t value = text(stamp);
  if (!tollgate_plugin_batch_set(&processed_by, &value, &all, err)) return false;

  if (!find_at(&found, err)) return false;
  rows = only(found);
  value = (value_t){.tag = VALUE(BOOLEAN), .val.boolean = true};
  bool done = tollgate_plugin_batch_set(&has_at, &value, &rows, err) && (found.len == 0 || tell(found.len, err));
  plugin_string_t counter = TEXT("has_at");
  if (done) tollgate_plugin_host_count(&counter, found.len);
  plugin_list_u32_free(&found);
  if (!done) return false;

  if (drop_level.len > 0) {
    if (!find_level(drop_level, &found, err)) return false;
    rows = only(found);
    done = tollgate_plugin_batch_discard(RECORDS, &rows, err);
    plugin_list_u32_free(&found);
    if (!done) return false;
  }
  if (archive_level.len > 0) {
    if (!find_level(archive_level, &found, err)) return false;
    rows = only(found);
    plugin_string_t archive = TEXT("archive");
    plugin_list_string_t destinations = {&archive, 1};
    done = tollgate_plugin_batch_route(RECORDS, &rows, &destinations, err);
    plugin_list_u32_free(&found);
    if (!done) return false;
  }
  ret->tag = EXPORTS_TOLLGATE_PLUGIN_HANDLER_VERDICT_FORWARD;
  return true;
}
