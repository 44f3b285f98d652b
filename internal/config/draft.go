package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// A Draft is a Config that is not complete or not checked yet.
type Draft struct {
	Config
	env     Environment
	offsets map[string]int // of the value of each key in the file
}

// Given reports whether the file sets a key to a value other than "".
func (d *Draft) Given(key string) bool { return d.given[key] != "" }

// Warn adds a warning to Config.Warnings.
func (d *Draft) Warn(warning string) { d.Warnings = append(d.Warnings, warning) }

// Invalid returns an error with a key of the configuration, its value and
// position, what is wrong, and what would be right.
func (d *Draft) Invalid(key, problem, want string) error {
	return d.invalidKey(key, Invalid(problem, want))
}

// Refuse returns the error of a parser of values with the key.
func (d *Draft) Refuse(key string, err error) error { return d.invalidKey(key, err) }

// StateFile returns the path of a file or directory in the first directory of
// $STATE_DIRECTORY (systemd.exec(5)), or in the working directory if it is not set.
func (d *Draft) StateFile(name string) string {
	dir, _, _ := strings.Cut(d.env.Getenv("STATE_DIRECTORY"), ":")
	return filepath.Join(dir, name)
}

// maxCredential is the maximum length of a credential, in bytes.
const maxCredential = 4096

// Credential reads a systemd credential (systemd.exec(5), LoadCredential=) into
// value if the file does not set the key.
func (d *Draft) Credential(key, name string, value *string) error {
	dir := d.env.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || *value != "" {
		return nil
	}
	text, err := d.env.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return d.Invalid(key, "the systemd credential "+name+" cannot be read: "+bare(err), "")
	}
	if len(text) > maxCredential {
		return d.Invalid(key, "the systemd credential "+name+" is too long", fmt.Sprintf("want at most %d bytes", maxCredential))
	}
	*value, err = AnyText(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"))
	if err != nil {
		return d.invalidKey(key, err)
	}
	return nil
}

// read stores the values of the text, key by key.
func (d *Draft) read(data []byte) error {
	doc := newDocument(data)
	if err := doc.begin(); err != nil {
		return err
	}
	for {
		name, at, err := doc.name()
		if err != nil {
			return err
		}
		if name == "" && at < 0 {
			return doc.end()
		}
		i := slices.IndexFunc(d.keys, func(k Key) bool { return k.Name == name })
		if i < 0 && !doc.colon() {
			return &mistake{fault{problem: "no key with a value follows the comma", want: `want "KEY": "value"`}, at, ""}
		}
		if i < 0 {
			return &mistake{fault{problem: "unknown key " + quote(name), want: suggest(name, d.keys)}, at, ""}
		}
		if first, twice := d.offsets[name]; twice {
			line, _ := Position(data, first)
			return &mistake{fault{problem: "is set twice, first in line " + fmt.Sprint(line), want: "want each key once"}, at, name}
		}
		value, at, err := doc.value(name)
		if err != nil {
			return err
		}
		d.offsets[name] = at
		if value == "" {
			continue
		}
		d.given[name] = value
		if err := d.keys[i].Set(d, value); err != nil {
			return d.invalid(d.keys[i], err)
		}
	}
}

// invalid adds the key, its value unless it is secret, and its position to a
// fault.
func (d *Draft) invalid(k Key, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{problem: err.Error()}
	}
	m := &mistake{fault: *f, offset: -1, key: k.Name}
	if at, ok := d.offsets[k.Name]; ok {
		m.offset = at
	}
	if m.value == "" {
		m.value = d.given[k.Name]
	}
	if k.Secret || f.hide {
		m.value = ""
	}
	return m
}

func (d *Draft) invalidKey(name string, err error) error {
	return d.invalid(d.keys[slices.IndexFunc(d.keys, func(k Key) bool { return k.Name == name })], err)
}
