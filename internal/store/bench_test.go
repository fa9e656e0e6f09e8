package store

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// benchStore is a store of 50 secrets whose names are known.
func benchStore(b *testing.B, f Freshness) *Store {
	sim := simulator.New(simulator.Options{})
	sim.Fill(50)
	s := open(b, sim, new(Registry), Options{Freshness: f})
	_, err := s.Read(b.Context(), ByName("demo_00001"), Current)
	require.NoError(b, err)
	b.ReportAllocs()
	return s
}

var benchCache = Freshness{TTL: time.Hour, Size: 100}

func BenchmarkCachedRead(b *testing.B) {
	s := benchStore(b, benchCache)
	for b.Loop() {
		if _, err := s.Read(b.Context(), ByName("demo_00001"), Current); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCachedReadsAtTheSameTime(b *testing.B) {
	s := benchStore(b, benchCache)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Read(b.Context(), ByName("demo_00001"), Current); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkUncachedRead includes the simulator, and a connection in memory for each read.
func BenchmarkUncachedRead(b *testing.B) {
	s := benchStore(b, Freshness{})
	for b.Loop() {
		if _, err := s.Read(b.Context(), ByName("demo_00001"), Current); err != nil {
			b.Fatal(err)
		}
	}
}

func benchItems(n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: strconv.Itoa(1_000_000_000_000 + i), Name: fmt.Sprintf("demo_%05d", i)}
	}
	return items
}

func BenchmarkFindAmong100000Names(b *testing.B) {
	s := benchStore(b, Freshness{})
	for _, item := range benchItems(100_000) {
		s.identity.names.learn(item.Name, item.ID)
	}
	for b.Loop() {
		if _, _, err := s.find(b.Context(), ByName("demo_50000")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJoinPagesOf10000Items is what a listing costs beside its requests.
func BenchmarkJoinPagesOf10000Items(b *testing.B) {
	items := benchItems(10_000)
	l := lister[Item]{
		stats: new(Stats),
		id:    func(i Item) string { return i.ID },
		fetch: func(_ context.Context, offset, limit int) (page[Item], error) {
			end := min(offset+limit, len(items))
			return page[Item]{offset, end - min(offset, end), items[min(offset, end):end], end < len(items)}, nil
		},
	}
	b.ReportAllocs()
	for b.Loop() {
		all, complete, err := l.all(b.Context())
		if err != nil || !complete || len(all) != len(items) {
			b.Fatal(len(all), complete, err)
		}
	}
}

// BenchmarkListing is a whole listing but for ABEJA and the network.
func BenchmarkListing(b *testing.B) {
	for _, secrets := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(strconv.Itoa(secrets), func(b *testing.B) {
			abeja := &listed{secrets: secrets, more: `,"user_id":"user-1","description":"what it is for","provider":"aws-secret-manager","rotation":false,
"created_at":"2026-01-02T03:04:05.000006Z","updated_at":"2026-01-02T03:04:05.000006Z","versions":[{"id":"9","organization_id":"1410000000000",
"version":1,"status":"active","created_at":"2026-01-02T03:04:05.000006Z","updated_at":"2026-01-02T03:04:05.000006Z"}]`}
			s := abeja.store(b, 0)
			list := func() {
				l, err := s.List(b.Context())
				if err != nil || len(l.Items) != secrets {
					b.Fatal(err)
				}
			}
			list()
			b.ReportAllocs()
			for b.Loop() {
				list()
			}
		})
	}
}
