// Package dialogue runs SMTP dialogues from text files, against a bare session or a
// server on a socket.
//
// Each line of a file is a step:
//
//	# a comment; empty lines are ignored as well
//	set max-size 1000             a setting that differs from its default, see Settings
//	C: NOOP                       sent with a CR LF
//	C raw: NO\r\x00               sent without a CR LF; escapes as in a Go string
//	C raw*500: x\r\n              the text is sent 500 times
//	--                            ends a write: the lines after it are sent in another write
//	S: 250 2.0.0 OK               one line of a reply, exactly, except for the placeholders below
//	TLS                           a TLS handshake
//	C close                       the client closes its writing side
//	S close                       the server has closed the connection
//	from a@example.org            the sender of a stored message, in the order of the replies
//	to b@example.com              its recipients, one or more
//	| Subject: hello              a line of its text, with a CR LF
//	raw| \n.\n                    text without a CR LF, escapes as above
//	raw*500| x                    the text occurs 500 times
//
// All lines of the client up to the next line of the server are sent in one write.
// In a line of the server {hash} matches 32 hexadecimal digits, {n} digits, and {any}
// any text.
package dialogue

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// A Script is one file.
type Script struct {
	Name     string // of the file, without .txt
	Settings Settings
	Messages []Message // expected to be stored

	steps []step
}

// A Message is a stored message.
type Message struct {
	From string
	To   []string
	Text []byte
}

// A step is one action of the client or the server.
type step struct {
	line int // in the file
	act  act
	data []byte         // send
	want *regexp.Regexp // expect
	text string         // expect: the line in the file
}

type act uint8

const (
	send act = iota
	flush
	expect
	handshake
	closeWriting
	expectClose
)

// Load reads all scripts of a directory, sorted by name.
func Load(dir fs.FS) ([]*Script, error) {
	names, err := fs.Glob(dir, "*.txt")
	if err != nil {
		return nil, err
	}
	var scripts []*Script
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		s, err := Parse(strings.TrimSuffix(name, ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, s)
	}
	if len(scripts) == 0 {
		return nil, fmt.Errorf("no dialogues in the directory")
	}
	return scripts, nil
}

// Parse reads one script.
func Parse(name, text string) (*Script, error) {
	s := &Script{Name: name, Settings: defaults()}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.parseLine(n, line); err != nil {
			return nil, fmt.Errorf("%s.txt:%d: %w", name, n, err)
		}
	}
	return s, nil
}

func (s *Script) parseLine(n int, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "--":
		s.add(step{line: n, act: flush})
	case line == "TLS":
		s.add(step{line: n, act: handshake})
	case line == "C close":
		s.add(step{line: n, act: closeWriting})
	case line == "S close":
		s.add(step{line: n, act: expectClose})
	case word == "C:":
		s.add(step{line: n, act: send, data: []byte(rest + "\r\n")})
	case word == "S:":
		want, err := pattern(rest)
		s.add(step{line: n, act: expect, want: want, text: rest})
		return err
	case strings.HasPrefix(line, "C raw"):
		data, err := raw(line, "C raw", ":")
		s.add(step{line: n, act: send, data: data})
		return err
	case word == "set":
		return s.Settings.set(rest)
	case word == "from":
		s.Messages = append(s.Messages, Message{From: rest})
	case len(s.Messages) == 0:
		return fmt.Errorf("unknown line %q", line)
	default:
		return s.Messages[len(s.Messages)-1].parseLine(line)
	}
	return nil
}

func (m *Message) parseLine(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "to":
		m.To = append(m.To, rest)
	case word == "|":
		m.Text = append(m.Text, rest+"\r\n"...)
	case strings.HasPrefix(line, "raw"):
		data, err := raw(line, "raw", "|")
		m.Text = append(m.Text, data...)
		return err
	default:
		return fmt.Errorf("unknown line %q", line)
	}
	return nil
}

func (s *Script) add(st step) { s.steps = append(s.steps, st) }

// raw decodes the escapes of a line "PREFIX*COUNT SEPARATOR text".
func raw(line, prefix, separator string) ([]byte, error) {
	count, text, ok := strings.Cut(strings.TrimPrefix(line, prefix), separator+" ")
	if !ok {
		return nil, fmt.Errorf("%q does not contain %q", line, separator+" ")
	}
	n := 1
	if count != "" {
		var err error
		if n, err = strconv.Atoi(strings.TrimPrefix(count, "*")); err != nil {
			return nil, fmt.Errorf("count: %w", err)
		}
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		return nil, fmt.Errorf("escapes in %q: %w", line, err)
	}
	return bytes.Repeat([]byte(text), n), nil
}

// pattern compiles a line of the server with its placeholders.
func pattern(line string) (*regexp.Regexp, error) {
	p := regexp.QuoteMeta(line)
	for name, meaning := range map[string]string{"hash": "[0-9a-f]{32}", "n": "[0-9]+", "any": ".*"} {
		p = strings.ReplaceAll(p, `\{`+name+`\}`, meaning)
	}
	return regexp.Compile("^" + p + "$")
}
