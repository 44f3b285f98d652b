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

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestDataErrors creates a table in every character set of the server, with columns
// of random types and widths, and sends messages with random values. The daemon stores
// each value as the server converts it, or refuses the recipient at RCPT. It never
// replies 4xx.
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
	collations, widths := map[string][]string{}, map[string]int{} // widths: bytes of the longest character
	for rows.Next() {
		var set, all string
		var width int
		if err := rows.Scan(&set, &width, &all); err != nil {
			t.Fatal(err)
		}
		widths[set] = width
		collations[set] = strings.Split(all, ",")
	}
	if err := rows.Err(); err != nil || len(collations) < 30 {
		t.Fatalf("%d character sets, want at least 30: %v", len(collations), err)
	}
	sets, modes := slices.Sorted(maps.Keys(collations)), sqlModes()
	d := newDaemon(t, m.Keys())
	d.Configure(t, map[string]string{"GM_ALLOWED_HOSTS": "example.com"})
	for i, set := range sets {
		v := values{rand.New(rand.NewPCG(seed, uint64(i)))}
		columns := v.columns(set, collations[set][v.IntN(len(collations[set]))])
		columns.maxWidth = widths[set]
		name := "new_mail_" + set
		m.CreateTable(t, name)
		mode := modes[v.IntN(len(modes))]
		m.Exec(t, "DROP TABLE mail."+name, columns.create("mail."+name), "SET GLOBAL sql_mode='"+mode+"'")
		change := map[string]string{"GM_MAIL_TABLE": name, "GM_MAIL_COMPRESS": []string{"N", "Y"}[v.IntN(2)]}
		if i == 0 {
			d.Configure(t, change)
			d.Start(t)
		} else if !d.Reload(t, change) {
			t.Fatalf("%s: reload refused: %s", set, d.Log())
		}
		t.Run(set, func(t *testing.T) {
			check := &dataCheck{T: t, values: v, columns: columns, daemon: d, table: &table{root, "mail." + name}}
			for n := range messages {
				check.sendRandom(fmt.Sprintf("token-%s-%d", set, n))
				if t.Failed() {
					t.Fatalf("table: %s", columns.create(name))
				}
			}
		})
	}
}

// TestDataErrorsOtherStores: the other stores store every value unchanged.
func TestDataErrorsOtherStores(t *testing.T) {
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
				check.sendRandom(fmt.Sprintf("token-%d", n))
			}
		})
	}
}
