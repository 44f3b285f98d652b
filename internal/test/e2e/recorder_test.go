package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// A recorder is a TCP proxy that records the bytes that clients send, so that a test
// can compare a row with the transmitted message.
type recorder struct {
	addr string

	mu         sync.Mutex
	recordings []*recording
}

// A recording holds the bytes that the client of one connection has sent.
type recording struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (r *recording) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.Write(b)
}

func startRecorder(t *testing.T, server string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &recorder{addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client, server) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return p
}

// serve forwards one connection until the server closes it.
func (p *recorder) serve(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	rec := &recording{}
	p.mu.Lock()
	p.recordings = append(p.recordings, rec)
	p.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(io.MultiWriter(server, rec), client)
		server.(*net.TCPConn).CloseWrite()
	})
	io.Copy(client, server)
	client.Close()
	up.Wait()
}

// sent returns the message to a recipient from the recordings, without dot stuffing
// and chunk boundaries.
func (p *recorder) sent(to string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range p.recordings {
		rec.mu.Lock()
		stream := bytes.Clone(rec.bytes.Bytes())
		rec.mu.Unlock()
		if text, ok := findMessage(stream, to); ok {
			return text, nil
		}
	}
	return nil, fmt.Errorf("no message to %s was recorded", to)
}

// findMessage finds the message to a recipient in the bytes that a client has sent. All
// commands of the dialogue must have been accepted. The function shares no code with the
// daemon, so that an error of the daemon cannot hide.
func findMessage(stream []byte, to string) ([]byte, bool) {
	match := false // the transaction has the recipient
	var chunks []byte
	for len(stream) > 0 {
		line, rest, _ := bytes.Cut(stream, []byte("\r\n"))
		stream = rest
		verb := string(bytes.ToUpper(bytes.TrimSpace(line)))
		switch chunk := regexp.MustCompile(`^BDAT (\d+)( LAST)?$`).FindStringSubmatch(verb); {
		case bytes.HasPrefix([]byte(verb), []byte("RCPT TO:")):
			match = match || bytes.Contains(line, []byte("<"+to+">"))
		case chunk != nil:
			n, err := strconv.Atoi(chunk[1])
			if err != nil || n > len(stream) {
				return nil, false
			}
			chunks = append(chunks, stream[:n]...)
			stream = stream[n:]
			if chunk[2] != "" {
				if match {
					return chunks, true
				}
				chunks = nil
			}
		case verb == "DATA":
			text, rest, done := cutText(stream)
			if match {
				return text, done
			}
			stream = rest
		}
	}
	return nil, false
}

// cutText removes the dot stuffing (RFC 5321, section 4.5.2) of a text and returns
// the bytes after it. It reports whether the text was complete.
func cutText(stream []byte) (text, rest []byte, done bool) {
	for {
		line, after, ok := bytes.Cut(stream, []byte("\r\n"))
		if !ok {
			return nil, nil, false
		}
		stream = after
		if string(line) == "." {
			return text, stream, true
		}
		text = append(append(text, bytes.TrimPrefix(line, []byte("."))...), "\r\n"...)
	}
}
