package sqlite_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/savemail"
)

// TestColumnChanges: the next Save uses a table that another program has changed.
func TestColumnChanges(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	for _, change := range []string{`DROP "charset"`, `ADD "helo" TEXT NOT NULL DEFAULT ''`, `DROP "subject"`, `ADD "size" INTEGER`, `ADD "mine" TEXT`,
		`ADD "sender" TEXT AS ('x' || "hash")`} {
		execute(t, o.File, "ALTER TABLE new_mail "+change)
		saveOne(t, s, nil)
	}
	db := connect(t, o.File)
	var helo, size, sender int
	if err := db.QueryRow(`SELECT sum("helo"='client.example.org'), sum("size"=length(?)), sum("sender"='x' || "hash") FROM new_mail`, text).
		Scan(&helo, &size, &sender); err != nil {
		t.Fatal(err)
	}
	if helo != 5 || size != 3 || sender != 7 {
		t.Errorf("%d rows with helo, %d with size and %d with sender, want 5, 3 and 7", helo, size, sender)
	}
	execute(t, o.File, `ALTER TABLE new_mail RENAME "mail" TO "m"`)
	if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), "lacks the columns mail") {
		t.Errorf("error %v, want the missing column mail", err)
	}
	execute(t, o.File, `ALTER TABLE new_mail RENAME "m" TO "mail"`)
	awaitSave(t, s)
}
