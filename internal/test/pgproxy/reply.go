package pgproxy

import (
	"strings"
	"time"
)

// replies forwards the messages of the server until the connection ends.
func (l *link) replies() {
	for {
		m, err := readMessage(l.fromServer)
		if err != nil {
			return
		}
		part, err := l.reply(m)
		if len(part) > 0 {
			// The connection of the server may be held longer than the client's.
			if _, failed := l.client.Write(part); failed != nil && !l.holds() {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// reply returns what the client receives of a message of the server.
func (l *link) reply(m []byte) ([]byte, error) {
	l.mu.Lock()
	if l.silent {
		l.mu.Unlock()
		return nil, nil
	}
	if len(l.open) == 0 || strings.IndexByte("NAS", m[0]) >= 0 { // what no request causes
		l.mu.Unlock()
		return m, nil
	}
	e := l.open[0]
	index, f := len(e.Response), e.fault
	e.Response += string(m[:1])
	last := m[0] == 'Z'
	if last {
		l.open = l.open[1:]
		e.closed = true
	}
	ended := e.Exchange
	l.mu.Unlock()
	if last {
		defer l.proxy.ended(ended)
	}
	switch {
	case f == nil || f.Request != All || f.Early:
		return m, nil
	case index == f.Response:
		return l.breakResponse(f, m, len(m)/2)
	case last && f.Response > index:
		return l.breakResponse(f, m, len(m))
	}
	return m, nil
}

// breakResponse applies a fault to a message of which the client receives n bytes, or none
// without Half.
func (l *link) breakResponse(f *Fault, m []byte, n int) ([]byte, error) {
	time.Sleep(f.Delay) // simulates a slow network
	defer l.proxy.happened(f)
	part := m[:0]
	if f.Half || n == len(m) {
		part = m[:n]
	}
	switch {
	case f.Keep:
		return m, nil
	case f.Change != nil:
		return f.Change(m), nil
	case f.Hold:
		l.hold()
		fallthrough
	case f.Hang:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.silent = true
		return part, nil
	}
	return part, l.cut(f)
}

func (l *link) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release != nil
}
