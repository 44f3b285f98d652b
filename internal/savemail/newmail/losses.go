package newmail

import "fmt"

// The lengths of the longest values in characters.
const (
	longestIP      = 39  // an IPv6 address
	longestAddress = 254 // RFC 5321 section 4.5.3.1.3, without the angle brackets
)

// Losses returns for each column that is too narrow for current email what it loses: a
// phrase such as "ip_addr cuts IPv6 addresses".
func (c *Columns) Losses() (list []string) {
	for i := range c.filled {
		f := &c.filled[i]
		if loss := f.loss(); loss != "" {
			list = append(list, f.Name+" "+loss)
		}
	}
	return list
}

func (f *filled) loss() string {
	if f.Kind != Text {
		return ""
	}
	narrow := f.over(longestAddress, longestAddress*f.charset.bytes('a'))
	lacks := !f.charset.Has('字') || !f.charset.Has('😀')
	switch f.key {
	case "ip_addr":
		if f.over(longestIP, longestIP*f.charset.bytes('a')) {
			return "cuts IPv6 addresses"
		}
	case "to", "recipient":
		switch {
		case narrow && lacks:
			return fmt.Sprintf("refuses recipients of more than %d characters or with characters outside %s", f.capacity(), f.charset.name)
		case narrow:
			return fmt.Sprintf("refuses recipients of more than %d characters", f.capacity())
		case lacks:
			return "refuses recipients with characters outside " + f.charset.name
		}
	case "from", "return_path":
		switch {
		case narrow && lacks:
			return fmt.Sprintf("cuts senders after %d characters and replaces characters outside %s", f.capacity(), f.charset.name)
		case narrow:
			return fmt.Sprintf("cuts senders after %d characters", f.capacity())
		case lacks:
			return "replaces characters outside " + f.charset.name
		}
	case "subject", "attach_info":
		if lacks {
			return "replaces characters outside " + f.charset.name
		}
	}
	return ""
}

// capacity returns the maximum number of ASCII characters of a limited column.
func (f *filled) capacity() int64 {
	if f.chars != 0 {
		return max(f.chars, 0)
	}
	return max(f.bytes, 0) / f.charset.bytes('a')
}
