package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/testserver"
)

// TestDataErrors has tables in every character set of the server, with columns
// of random types and widths, and sends messages of random values: each is
// stored as the server itself would convert it, or its recipients are refused
// at RCPT. None is told to come again.
func TestDataErrors(t *testing.T) {
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	t.Logf("SEED=%d", seed)
	messages := 12
	if os.Getenv("FAULTS") == "long" {
		messages = 1000
	}
	m := testserver.MariaDB(t)
	root := m.Connect(t)
	rows, err := root.Query("SELECT CHARACTER_SET_NAME, GROUP_CONCAT(COLLATION_NAME) FROM information_schema.COLLATIONS" +
		" WHERE CHARACTER_SET_NAME IS NOT NULL GROUP BY CHARACTER_SET_NAME")
	if err != nil {
		t.Fatal(err)
	}
	collations := map[string][]string{}
	for rows.Next() {
		var set, all string
		if err := rows.Scan(&set, &all); err != nil {
			t.Fatal(err)
		}
		collations[set] = strings.Split(all, ",")
	}
	if err := rows.Err(); err != nil || len(collations) < 30 {
		t.Fatalf("%d character sets, %v", len(collations), err)
	}
	sets := slices.Sorted(func(yield func(string) bool) {
		for set := range collations {
			if !yield(set) {
				return
			}
		}
	})
	d := newDaemon(t, m.Keys())
	d.Configure(t, map[string]string{"GM_ALLOWED_HOSTS": "example.com"})
	for i, set := range sets {
		v := values{rand.New(rand.NewPCG(seed, uint64(i)))}
		columns := v.columns(set, collations[set][v.IntN(len(collations[set]))])
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

var modes = []string{"", "STRICT_ALL_TABLES", "TRADITIONAL", "ANSI", "NO_BACKSLASH_ESCAPES", "PAD_CHAR_TO_FULL_LENGTH,STRICT_TRANS_TABLES", "EMPTY_STRING_IS_NULL"}

// A textColumn is a column for text.
type textColumn struct {
	kind  string // varchar, char, tinytext, text, varbinary
	width int    // of the kinds that have one
}

func (c textColumn) String() string {
	if c.width > 0 {
		return fmt.Sprintf("%s(%d)", c.kind, c.width)
	}
	return c.kind
}

// A dataTable is a table's definition.
type dataTable struct {
	set, collation string
	text           map[string]textColumn
	mail           string // its type
}

// columns are of random types and widths.
func (v values) columns(set, collation string) *dataTable {
	d := &dataTable{set: set, collation: collation, text: map[string]textColumn{}, mail: []string{"longblob", "mediumblob", "longtext"}[v.IntN(3)]}
	for _, c := range []struct {
		name        string
		least, most int
	}{
		{"from", 1, 255}, {"to", 12, 255}, {"recipient", 30, 255}, {"subject", 1, 300}, {"body", 8, 20}, {"charset", 1, 40},
		{"content_type", 1, 80}, {"ip_addr", 9, 45}, {"attach_info", 2, 400},
	} {
		kind := []string{"varchar", "varchar", "varchar", "char", "tinytext", "text", "varbinary"}[v.IntN(7)]
		width := c.least + v.IntN(c.most-c.least+1)
		switch kind {
		case "char":
			if width = min(width, 60); set == "binary" { // which pads with NUL
				kind = "varchar"
			}
		case "tinytext", "text":
			width = 0
		}
		d.text[c.name] = textColumn{kind, width}
	}
	return d
}

func (d *dataTable) create(name string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range d.text {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "`%s` %s NOT NULL, ", name, d.text[name])
	}
	return "CREATE TABLE " + name + " (mail_id int NOT NULL auto_increment PRIMARY KEY, `date` datetime NOT NULL, " + b.String() +
		"mail " + d.mail + " NOT NULL, spam_score float NOT NULL, hash char(32) NOT NULL, has_attach int NOT NULL, KEY (hash))" +
		" ENGINE=InnoDB DEFAULT CHARSET=" + d.set + " COLLATE=" + d.collation
}

// A dataCheck sends messages to one table and compares its rows with what the
// server makes of the values.
type dataCheck struct {
	*testing.T
	values
	columns *dataTable
	daemon  *testserver.Daemon
	table   *table
	last    int // mail_id
}

// converted is what the server makes of a text in a column's character set, and
// the bytes that it takes there. A character that the server replaces is '?', also
// where the server has another one: tis620 takes some beyond U+FFFF for Thai.
func (c *dataCheck) converted(column, text string) (kept string, size int) {
	if c.columns.set == "binary" || c.columns.text[column].kind == "varbinary" {
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

// holds compares a column with the value that it was given.
func (c *dataCheck) holds(column, got, value string) {
	want, _ := c.converted(column, value)
	of := c.columns.text[column]
	whole := false
	switch n := utf8.RuneCountInString(want); {
	case of.width > 0 && of.kind != "varbinary" && c.columns.set != "binary":
		if n > of.width {
			want = string([]rune(want)[:of.width])
		}
		whole = true
	case len(want) <= max(of.width, 60):
		whole = of.width == 0 || len(want) <= of.width
	}
	if of.kind == "char" { // reads lose blanks at the end
		got, want = strings.TrimRight(got, " \x00"), strings.TrimRight(want, " \x00")
	}
	// A column of latin2_czech_cs and others read them as '?'.
	got, want = strings.Map(withoutControls, got), strings.Map(withoutControls, want)
	if whole && got != want || !strings.HasPrefix(want, got) {
		c.Errorf("%s %v holds %q, want %q", column, of, got, want)
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
	client, err := testserver.Connect(c.daemon.Addr, 60*time.Second)
	if err != nil {
		c.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Expect(250, "EHLO %s", c.values.text(30, func(r rune) bool { return r > ' ' })+"x"); err != nil {
		c.Fatal(err)
	}
	params := " BODY=8BITMIME"
	if !isASCII(from + strings.Join(to, "")) {
		params += " SMTPUTF8"
	}
	if _, err := client.Expect(250, "MAIL FROM:<%s>%s", from, params); err != nil {
		c.Fatal(err)
	}
	var accepted []string
	for _, address := range to {
		r, err := client.Cmd("RCPT TO:<%s>", address)
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
	if _, err := client.Expect(354, "DATA"); err != nil {
		c.Fatal(err)
	}
	if _, err := client.Conn.Write(testserver.Stuff([]byte(text))); err != nil {
		c.Fatal(err)
	}
	if r, err := client.Reply(); err != nil || r.Code != 250 {
		log := c.daemon.Log()
		c.Fatalf("%v, %v for a message from %q to %q:\n%q\n%s", r, err, from, accepted, text, log[max(0, len(log)-1000):])
	}
	c.rows(from, accepted, text, token)
}

// rows compares those that came with the last message.
func (c *dataCheck) rows(from string, to []string, text, token string) {
	info := mailinfo.Parse([]byte(text))
	rows, err := c.table.db.Query("SELECT mail_id, `from`, `to`, recipient, subject, body, charset, content_type, ip_addr, mail, CAST(mail AS BINARY) FROM "+
		c.table.name+" WHERE mail_id > ? ORDER BY mail_id", c.last)
	if err != nil {
		c.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var r row
		var bytes []byte // of mail, without a conversion
		if err := rows.Scan(&c.last, &r.from, &r.to, &r.recipient, &r.subject, &r.body, &r.charset, &r.contentType, &r.ip, &r.mail, &bytes); err != nil {
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
		if r.body == savemail.BodyZlib {
			r.mail = bytes
		}
		mail, err := savemail.Expand(r.body, r.mail)
		if whole := strings.HasSuffix(string(mail), text); err != nil || !whole && (c.columns.mail != "longtext" || !strings.Contains(string(mail), token)) {
			c.Errorf("%v, mail holds %q, want %q", err, mail, text)
		}
	}
	if err := rows.Err(); err != nil || n != len(to) {
		c.Errorf("%d rows for %d recipients, %v", n, len(to), err)
	}
}
