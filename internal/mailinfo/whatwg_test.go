package mailinfo_test

import (
	"encoding/base64"
	"testing"
)

// TestWHATWG tests texts that golang.org/x/text decodes differently from the WHATWG
// Encoding standard.
func TestWHATWG(t *testing.T) {
	tests := []struct{ charset, text, want string }{
		{"big5", "\x81A", "\ufffdA"},
		{"big5", "\x81", "\ufffd"},
		{"big5", "\x88\x62\x88\xa5", "\u00ca\u0304\u00ea\u030c"},
		{"shift_jis", "\x81A\x85A", "\u3001\ufffdA"},
		{"shift_jis", "\xf0\x40\xf9\xfc", "\ue000\ue757"},
		{"shift_jis", "\xfd\x80\xa1", "\ufffd\u0080\uff61"},
		{"euc-jp", "\x8f\xa1A\x8fA\x8f\xa1", "\ufffdA\ufffdA\ufffd"},
		{"euc-jp", "\x8e\xb1\x8e\xe0A", "\uff71\ufffdA"},
		{"euc-kr", "\x81\x20A", "\ufffd A"},
		{"gb18030", "\xa8\xbc", "\u1e3f"},
		{"gbk", "\xa8\xbc\x80\x81\x30\x81\x30", "\u1e3f\u20ac\u0080"},
		{"gb18030", "\x81\x35\xf4\x37\xaa\xa1\xf8\xa1\xa1\x40\xa3\xa0", "\ue7c7\ue000\ue234\ue4c6\u3000"},
		{"gb18030", "\x81\x30A\x81\x30\x81A", "\ufffd0A\ufffd0\u4e04"},
		{"gb18030", "\x81\x30\x81", "\ufffd"},
		{"windows-1252", "\x81\x8d\x80", "\u0081\u008d\u20ac"},
		{"windows-1253", "\x81\xaa", "\u0081\ufffd"},
		{"iso-8859-8-i", "\x80\xe0", "\u0080\u05d0"},
		{"iso-2022-jp", "\x1b(J\\~a\x1b(B\\~", "\u00a5\u203ea\\~"},
		{"iso-2022-jp", "\x1b(I1\x1b(B\x1b$BF|\x1b(B", "\uff71\ufffd\u65e5"},
		{"iso-2022-jp", "\x1b$BF\x1b(BA\x0e\x1b$(D", "\ufffdA\ufffd\ufffd$(D"},
		{"utf-16le", "\x3d\xd8\x61\x00\x3d\xd8\x3c\xdf\x00\xdc\x61", "\ufffda\U0001f73c\ufffd\ufffd"},
		{"utf-16be", "\xd8\x3d", "\ufffd"},
	}
	for _, tt := range tests {
		word := "=?" + tt.charset + "?B?" + base64.StdEncoding.EncodeToString([]byte(tt.text)) + "?="
		if got := subject(" " + word); got != tt.want {
			t.Errorf("%s %+q: got %+q, want %+q", tt.charset, tt.text, got, tt.want)
		}
	}
}
