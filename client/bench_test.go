package client

import (
	"bytes"
	"crypto/rand"
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
