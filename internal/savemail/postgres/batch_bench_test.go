package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// BenchmarkBatch measures a durable transaction with messages of 5 KB, by the store's INSERTs
// and by COPY in the binary format. COPY needs one statement more, which reads the id of the
// transaction; it is sent together with COPY, which is the best case for COPY.
func BenchmarkBatch(b *testing.B) {
	server := servers.Postgres(b)
	for _, rows := range []int{1, 12, 50} {
		var batch []*envelope.Envelope
		for range rows {
			batch = append(batch, storetest.Envelope("Subject: hello\r\n\r\n"+strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 147), "b@example.com"))
		}
		for _, method := range []string{"INSERT", "COPY"} {
			b.Run(fmt.Sprintf("%s/%d", method, rows), func(b *testing.B) {
				server.Exec(b, "DROP TABLE IF EXISTS new_mail")
				server.CreateTable(b, "new_mail")
				s, err := New(Options{DSN: server.DSN(), Table: "new_mail"})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				c, err := s.connect(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				defer c.destroy()
				b.ReportAllocs()
				for b.Loop() {
					made, _ := makeRows(c.columns, batch, false, false)
					if method == "COPY" {
						err = c.copyRows(b, made)
					} else {
						_, _, err = c.commit(b.Context(), s, made)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
				var stored int
				server.QueryRow(b, "SELECT count(*) FROM new_mail", &stored)
				if stored < b.N*rows {
					b.Errorf("%d rows, want %d", stored, b.N*rows)
				}
			})
		}
	}
}

// copyRows commits rows that it writes by COPY.
func (c *conn) copyRows(b *testing.B, rows []batchRow) error {
	out := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	field := func(value []byte) {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(value))), value...)
	}
	for _, r := range rows {
		to := &r.envelope.To[r.i]
		out = binary.BigEndian.AppendUint16(out, 14)
		field(make([]byte, 8)) // date
		for _, text := range []string{r.envelope.From, to.Address, r.envelope.Info.Subject, "", "UTF-8"} {
			field([]byte(text))
		}
		field(r.envelope.Blob(r.i))
		field(make([]byte, 4)) // spam_score
		for _, text := range []string{to.Hash, "text/plain", to.Address} {
			field([]byte(text))
		}
		field([]byte{0}) // has_attach
		field([]byte("192.0.2.7"))
		field([]byte("[]"))
	}
	out = append(out, 0xff, 0xff)
	_, err := c.PgConn().CopyFrom(b.Context(), bytes.NewReader(out), `BEGIN; SELECT pg_current_xact_id(); COPY new_mail (date, "from", "to", subject, body, charset, mail, spam_score,
		hash, content_type, recipient, has_attach, ip_addr, attach_info) FROM STDIN (FORMAT binary)`)
	if err != nil {
		return err
	}
	_, err = c.PgConn().Exec(b.Context(), "COMMIT").ReadAll()
	return err
}
