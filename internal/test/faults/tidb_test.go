//go:build tidb

package faults

import (
	"slices"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestFaultsTiDB applies the faults of TestFaults that TiDB supports.
func TestFaultsTiDB(t *testing.T) {
	d := shared.Daemon(t, nil)
	m := servers.TiDB(t)
	m.CreateTable(t, "new_mail")
	proxy := servers.StartTCPProxy(t, m.Addr)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{
		"MYSQL_HOST": proxy.Addr, "GSMTP_TIMEOUT": "30", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: m.Connect(t)}
	w.startLoad(t)
	faults := slices.Concat(w.daemonFaults(d, cert), w.mariaDBFaults(m, nil), w.networkFaults(proxy))
	w.run(t, slices.DeleteFunc(faults, func(f fault) bool {
		return slices.Contains([]string{"MariaDB read-only", "disk of MariaDB full", "disk of MariaDB read-only"}, f.name)
	}))
}
