package client

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkRefusedValue is what ABEJA's words cost, by the size of the value that they may repeat.
func BenchmarkRefusedValue(b *testing.B) {
	words := strings.Repeat("the value is too large. ", 200)
	for name, value := range map[string][]byte{
		"1 KiB": bytes.Repeat([]byte("k=v\n"), 1<<8), "64 KiB": bytes.Repeat([]byte("k=v\n"), 1<<14), "1 MiB": bytes.Repeat([]byte("k=v\n"), 1<<18),
		"1 MiB of random bytes": make([]byte, 1<<20),
	} {
		if strings.Contains(name, "random") {
			rand.Read(value)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				clean(words, looks(string(value)), nil)
			}
		})
	}
}

// BenchmarkSecretWithValues is what an answer costs with the values of 5 versions of 64 KiB.
func BenchmarkSecretWithValues(b *testing.B) {
	version := strings.Replace(versionJSON, `"version":1`, `"version":1,"value":"`+base64.StdEncoding.EncodeToString(make([]byte, 64<<10))+`"`, 1)
	answer := strings.Replace(secretJSON, versionJSON, strings.Repeat(version+",", 4)+version, 1)
	c := newClient(b, &server{answer: func(int, *http.Request) (*http.Response, error) { return told(answer), nil }})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.GetSecret(b.Context(), secretID, ReadOptions{Values: true}); err != nil {
			b.Fatal(err)
		}
	}
}
