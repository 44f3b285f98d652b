package pgproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// header is the size of a message's type and length.
const header = 5

// maxMessage is more than the server accepts, in bytes.
const maxMessage = 1<<30 + header

// startup is the type that a Request has for the first message of a login, which has none.
const startup = '0'

var errMessage = errors.New("not a message of the protocol")

// readMessage reads a message with its type.
func readMessage(r *bufio.Reader) ([]byte, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	return readBody(r, []byte{kind})
}

// readBody appends the length and the body of a message.
func readBody(r *bufio.Reader, m []byte) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length)
	if n < 4 || n > maxMessage {
		return nil, errMessage
	}
	start := len(m) + 4
	m = append(append(m, length...), make([]byte, n-4)...)
	_, err := io.ReadFull(r, m[start:])
	return m, err
}

// readSegment reads messages of a client until one that makes the server reply, or that a
// client sends without a Sync.
func readSegment(r *bufio.Reader) (messages [][]byte, err error) {
	for {
		m, err := readMessage(r)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
		if strings.IndexByte("QSHFXdcfp", m[0]) >= 0 {
			return messages, nil
		}
	}
}

// maxText is the size of the examined part of a statement, in bytes.
const maxText = 400

// cut returns a string of the protocol, which ends with a zero byte, and what follows.
func cut(b []byte) (text string, rest []byte) {
	before, after, _ := bytes.Cut(b, []byte{0})
	return string(before[:min(len(before), maxText)]), after
}

// examine adds messages to a request. The statements are those that the client has named.
func (r *Request) examine(messages [][]byte, statements map[string]string) {
	for _, m := range messages {
		r.Messages += string(m[:1])
		body := m[header:]
		switch m[0] {
		case 'Q':
			text, _ := cut(body)
			r.Executed = append(r.Executed, text)
		case 'P':
			name, rest := cut(body)
			text, _ := cut(rest)
			statements[name] = text
			r.Parsed = append(r.Parsed, text)
		case 'B':
			_, rest := cut(body) // the portal
			name, _ := cut(rest)
			r.Executed = append(r.Executed, statements[name])
		}
	}
}

// complete reports whether the server can reply to the request to its end.
func (r *Request) complete() bool {
	if r.Messages == "" {
		return false
	}
	switch r.Messages[len(r.Messages)-1] {
	case 'S', 'F', 'c', 'f':
		return true
	case 'Q':
		text := r.Executed[len(r.Executed)-1]
		return !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(text)), "COPY")
	}
	return false
}
