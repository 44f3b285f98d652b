package envelope

import (
	"bytes"
	"net/mail"
	"time"
)

// Arrived returns when a message arrived, from the Received field that Blob has added. blob
// is the beginning of a blob. ok is false if it does not begin with the added fields.
func Arrived(blob []byte) (arrived time.Time, ok bool) {
	for _, name := range []string{"Return-Path: <", "Delivered-To: "} {
		line, rest, _ := bytes.Cut(blob, []byte("\r\n"))
		if !bytes.HasPrefix(line, []byte(name)) {
			return time.Time{}, false
		}
		blob = rest
	}
	if !bytes.HasPrefix(blob, []byte("Received: ")) {
		return time.Time{}, false
	}
	// The date follows the last semicolon of the field, and a quoted address may contain
	// others. The field ends where the next line has no tab.
	end := 0
	for {
		i := bytes.Index(blob[end:], []byte("\r\n"))
		if i < 0 {
			return time.Time{}, false
		}
		if end += i; end+2 >= len(blob) || blob[end+2] != '\t' {
			break
		}
		end += 2
	}
	date := blob[bytes.LastIndexByte(blob[:end], ';')+1 : end]
	arrived, err := mail.ParseDate(string(bytes.ReplaceAll(date, []byte("\r\n\t"), []byte(" "))))
	return arrived, err == nil
}
