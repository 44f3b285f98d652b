package main

import (
	"testing"

	"goguerrillad/internal/config"
)

// TestLimitClients: clients of all servers and the reserve together are never more
// than the descriptors, unless these do not suffice for a single client.
func TestLimitClients(t *testing.T) {
	for _, store := range []string{config.SaveMySQL, config.SaveSQLite, config.SaveMaildir, config.SaveWebhook, config.SaveDiscard} {
		for _, http := range []int{0, 1, 2} {
			cfg := &config.Config{SaveMail: store, MaxClients: 500, Listen: []string{":25"}}
			cfg.AuthHTTP.Enabled = http > 0
			if http > 1 {
				cfg.Metrics = "127.0.0.1:9100"
			}
			reserve := reservedDescriptors(cfg)
			for descriptors := range 3000 {
				l := limitClients(cfg, descriptors)
				if l.smtp < 1 || l.http < 1 || l.smtp > 500 || l.http > 500 || (l.warning != "") != (l.smtp < 500) {
					t.Fatalf("%s, %d descriptors: %+v", store, descriptors, l)
				}
				if used := reserve + l.smtp + http*l.http; used > descriptors && l.smtp > 1 {
					t.Fatalf("%s, %d HTTP servers: %d of %d descriptors are used", store, http, used, descriptors)
				}
				if descriptors >= reserve+500*(1+http) && (l.smtp < 500 || l.http < 500) {
					t.Fatalf("%s, %d descriptors suffice: %+v", store, descriptors, l)
				}
			}
		}
	}
}
