package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestDataErrors has tables in every character set of the server, with columns
// of random types and widths, and sends messages of random values: each is
// stored as the server itself would convert it, or its recipients are refused
// at RCPT. None is told to come again.
func TestDataErrors(t *testing.T) {
	seed := test.Seed(t)
	messages := 12
	if os.Getenv("FAULTS") == "long" {
		messages = 1000
	}
	m := servers.MariaDB(t)
	root := m.Connect(t)
	rows, err := root.Query("SELECT CHARACTER_SET_NAME, MAXLEN, GROUP_CONCAT(COLLATION_NAME) FROM information_schema.COLLATIONS" +
		" JOIN information_schema.CHARACTER_SETS USING (CHARACTER_SET_NAME) GROUP BY CHARACTER_SET_NAME")
	if err != nil {
		t.Fatal(err)
	}
	collations, most := map[string][]string{}, map[string]int{}
	for rows.Next() {
		var set, all string
		var bytes int
		if err := rows.Scan(&set, &bytes, &all); err != nil {
			t.Fatal(err)
		}
		most[set] = bytes
		collations[set] = strings.Split(all, ",")
	}
	if err := rows.Err(); err != nil || len(collations) < 30 {
		t.Fatalf("%d character sets, %v", len(collations), err)
	}
	sets := slices.Sorted(maps.Keys(collations))
	d := newDaemon(t, m.Keys())
	d.Configure(t, map[string]string{"GM_ALLOWED_HOSTS": "example.com"})
	for i, set := range sets {
		v := values{rand.New(rand.NewPCG(seed, uint64(i)))}
		columns := v.columns(set, collations[set][v.IntN(len(collations[set]))])
		columns.most = most[set]
		name := "new_mail_" + set
		m.CreateTable(t, name)
		m.Exec(t, "DROP TABLE mail."+name, columns.create("mail."+name), "SET GLOBAL sql_mode='"+modes[v.IntN(len(modes))]+"'")
		change := map[string]string{"GM_MAIL_TABLE": name, "GM_MAIL_COMPRESS": []string{"N", "Y"}[v.IntN(2)]}
		if i == 0 {
			d.Configure(t, change)
			d.Start(t)
		} else if !d.Reload(t, change) {
			t.Fatalf("%s: the reload is refused: %s", set, d.Log())
		}
		t.Run(set, func(t *testing.T) {
			check := &dataCheck{T: t, values: v, columns: columns, daemon: d, table: &table{root, "mail." + name}}
			for n := range messages {
				check.message(fmt.Sprintf("token-%s-%d", set, n))
				if t.Failed() {
					t.Fatalf("the table is %s", columns.create(name))
				}
			}
		})
	}
}

// TestDataErrorsElsewhere: the other stores take every value as it is.
func TestDataErrorsElsewhere(t *testing.T) {
	seed := test.Seed(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if err := json.Unmarshal([]byte(r.FormValue("envelope")), &struct{ Subject string }{}); err != nil {
				t.Errorf("envelope %q: %v", r.FormValue("envelope"), err)
			}
		}
	}))
	defer receiver.Close()
	for i, keys := range []map[string]string{
		{"GM_SAVE_MAIL": "sqlite"},
		{"GM_SAVE_MAIL": "sqlite", "GM_MAIL_COMPRESS": "Y"},
		{"GM_SAVE_MAIL": "maildir"},
		{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": receiver.URL, "WEBHOOK_SECRET": strings.Repeat("secret", 6)},
	} {
		t.Run(keys["GM_SAVE_MAIL"], func(t *testing.T) {
			d := newDaemon(t, keys)
			d.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(d.Dir, "mail")})
			d.Start(t)
			check := &dataCheck{T: t, values: values{rand.New(rand.NewPCG(seed, uint64(i)))}, daemon: d}
			if keys["GM_SAVE_MAIL"] == "sqlite" {
				check.table = sqliteTable(t, d)
			}
			for n := range 150 {
				check.message(fmt.Sprintf("token-%d", n))
			}
		})
	}
}

// A dataCheck sends messages to one table and compares its rows with what the
// server makes of the values.
type dataCheck struct {
	*testing.T
	values
	columns *dataTable // nil: a store that takes every value as it is
	daemon  *daemon.Daemon
	table   *table // nil: the replies alone are looked at
	last    int    // mail_id
}

// converted is what the server makes of a text in a column's character set, and
// the bytes that it takes there. A character that the server replaces is '?', also
// where the server has another one: tis620 takes some beyond U+FFFF for Thai.
func (c *dataCheck) converted(column, text string) (kept string, size int) {
	if c.columns == nil || c.columns.set == "binary" || c.columns.text[column].kind == "varbinary" {
		return text, len(text)
	}
	convert := fmt.Sprintf("CONVERT(_utf8mb4 x'%x' USING %s)", text, c.columns.set)
	if err := c.table.db.QueryRow("SELECT CONVERT("+convert+" USING utf8mb4), OCTET_LENGTH("+convert+")").Scan(&kept, &size); err != nil {
		c.Fatal(err)
	}
	whole, runes := []rune(text), []rune(kept)
	if len(runes) != len(whole) {
		c.Fatalf("%s: the server makes %q of %q", c.columns.set, kept, text)
	}
	for i := range runes {
		if runes[i] != whole[i] {
			runes[i] = '?'
		}
	}
	return string(runes), size
}

// fits reports whether a column can hold an address as it is.
func (c *dataCheck) fits(column, address string) bool {
	if c.columns == nil {
		return true
	}
	kept, size := c.converted(column, address)
	switch of := c.columns.text[column]; {
	case kept != address:
		return false
	case of.kind == "varbinary" || c.columns.set == "binary" && of.width > 0:
		return size <= of.width
	case of.width > 0:
		return utf8.RuneCountInString(address) <= of.width
	case of.kind == "tinytext":
		return size <= 255
	}
	return true
}

// holds compares a column with the value that it was given. A column of n characters
// or n bytes holds as much of the value as fits. The characters of a TINYTEXT in
// another set are at least as many as fit if each takes the most bytes of the set.
func (c *dataCheck) holds(column, got, value string) {
	if c.columns == nil {
		if got != value {
			c.Errorf("%s holds %q, want %q", column, got, value)
		}
		return
	}
	want, _ := c.converted(column, value)
	of := c.columns.text[column]
	least, whole := utf8.RuneCountInString(want), false
	switch inBytes := of.kind == "varbinary" || c.columns.set == "binary"; {
	case of.width > 0 && !inBytes:
		want, whole = string([]rune(want)[:min(least, of.width)]), true
	case of.width > 0:
		want, whole = cutBytes(want, of.width), true
	case of.kind == "tinytext" && inBytes:
		want, whole = cutBytes(want, 255), true
	case of.kind == "tinytext":
		least = min(least, 255/c.columns.most)
	}
	if of.kind == "char" { // reads lose blanks at the end
		got, want = strings.TrimRight(got, " \x00"), strings.TrimRight(want, " \x00")
	}
	// A column of latin2_czech_cs and others read them as '?'.
	got, want = strings.Map(withoutControls, got), strings.Map(withoutControls, want)
	if whole && got != want || !whole && (!strings.HasPrefix(want, got) || utf8.RuneCountInString(got) < least) {
		c.Errorf("%s %v holds %q, want %q", column, of, got, want)
	}
}

// cutBytes returns the longest beginning of s that has at most n bytes and ends between
// two characters.
func cutBytes(s string, n int) string {
	for i, r := range s {
		if i+utf8.RuneLen(r) > n {
			return s[:i]
		}
	}
	return s
}

// lists compares the attachments with those of the message, of which the last may
// be missing if the column is too small.
func (c *dataCheck) lists(got string, want []mailinfo.Attachment) {
	var list []mailinfo.Attachment
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list) > len(want) {
		c.Errorf("attach_info holds %q: %v", got, err)
		return
	}
	for i, a := range list {
		a.Name, want[i].Name = strings.Map(withoutControls, a.Name), strings.Map(withoutControls, want[i].Name)
		if a != want[i] {
			c.Errorf("attach_info holds %+v, want %+v", a, want[i])
		}
	}
	if c.columns != nil {
		if of := c.columns.text["attach_info"]; of.kind != "text" {
			return
		}
	}
	if len(list) != len(want) {
		c.Errorf("attach_info holds %d of %d attachments", len(list), len(want))
	}
}

func withoutControls(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// message sends one, which must be stored for each recipient that is accepted.
func (c *dataCheck) message(token string) {
	text := c.values.message(token)
	from, to := "", c.mailboxes(5)
	if c.IntN(5) > 0 {
		from = c.mailbox()
	}
	conn, err := client.Connect(c.daemon.Addr, 60*time.Second)
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Expect(250, "EHLO %s", c.values.text(30, func(r rune) bool { return r > ' ' })+"x"); err != nil {
		c.Fatal(err)
	}
	params := " BODY=8BITMIME"
	if !isASCII(from + strings.Join(to, "")) {
		params += " SMTPUTF8"
	}
	if _, err := conn.Expect(250, "MAIL FROM:<%s>%s", from, params); err != nil {
		c.Fatal(err)
	}
	var accepted []string
	for _, address := range to {
		r, err := conn.Cmd("RCPT TO:<%s>", address)
		if fits := c.fits("to", address) && c.fits("recipient", address); err != nil || r.Code/100 != 2 && r.Code/100 != 5 || (r.Code == 250) != fits {
			c.Errorf("RCPT TO:<%s>: %v, %v, want it accepted: %v", address, r, err, fits)
		}
		if r.Code == 250 {
			accepted = append(accepted, address)
		}
	}
	if len(accepted) == 0 {
		return
	}
	if _, err := conn.Expect(354, "DATA"); err != nil {
		c.Fatal(err)
	}
	if _, err := conn.Conn.Write(client.Stuff([]byte(text))); err != nil {
		c.Fatal(err)
	}
	r, err := conn.Reply()
	if err != nil || r.Code != 250 {
		log := c.daemon.Log()
		c.Fatalf("%v, %v for a message from %q to %q:\n%q\n%s", r, err, from, accepted, text, log[max(0, len(log)-1000):])
	}
	if c.table != nil {
		c.rows(from, accepted, text, token, r.Hash())
	}
}

// rows compares those that came with the last message.
func (c *dataCheck) rows(from string, to []string, text, token, hash string) {
	info := mailinfo.Parse([]byte(text))
	bytes := "CAST(mail AS BINARY)"
	if c.columns == nil {
		bytes = "mail"
	}
	rows, err := c.table.db.Query("SELECT mail_id, `from`, `to`, recipient, subject, body, charset, content_type, ip_addr, attach_info, has_attach, hash, mail, "+bytes+" FROM "+
		c.table.name+" WHERE mail_id > ? ORDER BY mail_id", c.last)
	if err != nil {
		c.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var r row
		var bytes []byte // of mail, without a conversion
		if err := rows.Scan(&c.last, &r.from, &r.to, &r.recipient, &r.subject, &r.body, &r.charset, &r.contentType, &r.ip,
			&r.attach, &r.hasAttach, &r.hash, &r.mail, &bytes); err != nil {
			c.Fatal(err)
		}
		if n >= len(to) {
			continue
		}
		c.holds("to", r.to, to[n])
		c.holds("recipient", r.recipient, to[n])
		c.holds("from", r.from, from)
		c.holds("subject", r.subject, info.Subject)
		c.holds("charset", r.charset, info.Charset)
		c.holds("content_type", r.contentType, info.ContentType)
		c.holds("ip_addr", r.ip, "127.0.0.1")
		c.lists(r.attach, slices.Clone(info.Attachments))
		if r.hasAttach != min(1, len(info.Attachments)) || len(r.hash) != 32 || n == 0 && r.hash != hash {
			c.Errorf("has_attach %d, hash %q, want that of %d attachments, and %s", r.hasAttach, r.hash, len(info.Attachments), hash)
		}
		if r.body == newmail.BodyZlib {
			r.mail = bytes
		}
		mail, err := newmail.Expand(r.body, r.mail)
		if whole := strings.HasSuffix(string(mail), text); err != nil || !whole && (c.columns == nil || c.columns.mail != "longtext" || !strings.Contains(string(mail), token)) {
			c.Errorf("%v, mail holds %q, want %q", err, mail, text)
		}
	}
	if err := rows.Err(); err != nil || n != len(to) {
		c.Errorf("%d rows for %d recipients, %v", n, len(to), err)
	}
}
