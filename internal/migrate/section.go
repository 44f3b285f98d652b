package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"goguerrillad/internal/config"
)

// section is an object of the file. Each method removes the key that it reads, so that
// unknown keys remain.
type section struct {
	*converter
	path string // such as servers[0].tls., "" for the whole file
	keys map[string]any
}

// note adds a line about a key. Text must not contain values, which may be secrets.
func (s section) note(key, format string, args ...any) {
	s.notes = append(s.notes, config.Printable(s.path+key)+": "+fmt.Sprintf(format, args...))
}

// none adds a line about a key without an equivalent.
func (s section) none(key, reason string) { s.note(key, "no equivalent: %s", reason) }

// take reads the value of a key. It is the zero value if the key is missing, null, or
// of another type.
func take[T any](s section, key, want string) T {
	value := s.keys[key]
	delete(s.keys, key)
	t, ok := value.(T)
	if !ok && value != nil {
		s.note(key, "the value is not %s", want)
	}
	return t
}

func (s section) flag(key string) bool  { return take[bool](s, key, "true or false") }
func (s section) list(key string) []any { return take[[]any](s, key, "a list") }
func (s section) text(key string) string {
	return strings.TrimSpace(take[string](s, key, "a string"))
}

// number reads a whole number, or a string with one, as the other program does.
func (s section) number(key string) string {
	if text, ok := s.keys[key].(string); ok {
		s.keys[key] = json.Number(strings.TrimSpace(text))
	}
	n := take[json.Number](s, key, "a number").String()
	if n == "" || n == "0" { // the other program's default
		return ""
	}
	if _, err := strconv.ParseInt(n, 10, 64); err != nil {
		s.note(key, "the value is not a whole number")
		return ""
	}
	return n
}

// object reads an object, which is empty if the key is missing.
func (s section) object(key string) section {
	return section{s.converter, s.path + key + ".", take[map[string]any](s, key, "an object")}
}

// given reports whether a key has a value other than the zero value of its type.
func (s section) given(key string) bool {
	switch v := s.keys[key].(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// drop removes keys, and adds a line with a reason about each one that is given.
func (s section) drop(add func(section, string, string), reason string, keys ...string) {
	for _, k := range keys {
		if s.given(k) {
			add(s, k, reason)
		}
		delete(s.keys, k)
	}
}

// rest adds a line about each key that was not read.
func (s section) rest() {
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		s.none(k, "the key is unknown")
	}
}

// values are values by key of this daemon.
type values map[string]string

// set stores a value unless it is empty, or the daemon does not accept it; from is the
// key of the file.
func (s section) set(v values, key, value, from string) {
	if value == "" {
		return
	}
	if s.valid(key, value) {
		v[key] = value
	} else {
		s.note(from, "%s does not accept the value", key)
	}
}
