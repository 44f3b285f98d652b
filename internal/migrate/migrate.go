// Package migrate converts the configuration files of go-guerrilla 1.4 to 2.x to the
// keys of this daemon.
package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"goguerrillad/internal/config"
)

// A Conversion is the equivalent of such a file. It contains no password.
type Conversion struct {
	Files []File   // one for each daemon, at least one
	Notes []string // one line for each key that has no equivalent or needs the user
}

// File is a configuration file of this daemon.
type File struct {
	Listen string // GSTMP_LISTEN_INTERFACE
	Text   string
}

const problem = "is a configuration of go-guerrilla 1.4 or later"

// Error makes a Conversion the cause of the error about the file.
func (*Conversion) Error() string { return problem }

// Print writes the files to stdout and the explanations to stderr.
func (c *Conversion) Print(stdout, stderr io.Writer) {
	for i, f := range c.Files {
		if len(c.Files) > 1 {
			fmt.Fprintf(stderr, "goguerrillad: file %d of %d, for %s:\n", i+1, len(c.Files), f.Listen)
		}
		fmt.Fprint(stdout, f.Text)
	}
	for _, n := range c.Notes {
		fmt.Fprintln(stderr, "goguerrillad:", n)
	}
}

// Recognise returns the error about a file of go-guerrilla 1.4 to 2.x, and nil for
// every other file. The cause of the error is a *Conversion if the file is JSON. keys
// are all keys of this daemon.
func Recognise(name string, text []byte, keys []config.Key) *config.Error {
	c := newConverter(keys)
	if !c.isLater(text) {
		return nil
	}
	var syntax *json.SyntaxError
	var document map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	switch {
	case errors.As(json.Unmarshal(text, &struct{}{}), &syntax):
		line, column := config.Position(text, int(syntax.Offset)-1)
		return &config.Error{File: name, Line: line, Column: column, Problem: problem + ", and not JSON from here on",
			Want: "want JSON without comments and without a comma before } and ]"}
	case decoder.Decode(&document) != nil:
		return nil
	}
	return &config.Error{File: name, Problem: problem, Cause: c.convert(document),
		Want: "goguerrillad -t -config " + config.Printable(name) + " prints the equivalent"}
}

// isLater reports whether a text begins as such a file. A file of this daemon has no
// lists and objects, so a misspelt key is never taken for a key of the other program.
func (c *converter) isLater(text []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return false
	}
	found := false
	for d.PeekKind() == jsontext.KindString {
		t, err := d.ReadToken()
		if err != nil {
			break
		}
		name := t.String()
		if _, ours := c.keys[name]; ours {
			return false
		}
		switch kind := d.PeekKind(); name {
		case "allowed_hosts", "servers":
			found = found || kind == jsontext.KindBeginArray
		case "backend_config":
			found = found || kind == jsontext.KindBeginObject
		}
		if d.SkipValue() != nil {
			break
		}
	}
	return found
}
