package backend

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// meter is a way to ABEJA that counts the bytes of answers: all that were read, and those of the answers
// that were being read at the same time. Answers of up to 16 KiB come at once, the others take their time.
type meter struct {
	http.RoundTripper

	mu               sync.Mutex
	read, held, most int64
}

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &metered{ReadCloser: resp.Body, by: m, size: resp.ContentLength}
	}
	return resp, err
}

func (m *meter) add(read, held int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.held = m.read+read, m.held+held
	m.most = max(m.most, m.held)
}

type metered struct {
	io.ReadCloser
	by         *meter
	size, read int64
	held       bool
}

func (b *metered) Read(p []byte) (int, error) {
	if b.read >= 16<<10 && !b.held {
		b.held = true
		b.by.add(0, b.size)
		time.Sleep(time.Second)
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	b.by.add(int64(n), 0)
	return n, err
}

func (b *metered) Close() error {
	if b.held {
		b.held = false
		b.by.add(0, -b.size)
	}
	return b.ReadCloser.Close()
}

func TestReadsAtOnceHoldABoundedNumberOfBytes(t *testing.T) {
	const room = 16 << 20 // of one organization
	for name, c := range map[string]struct {
		secrets, versions, requests int
		read, most                  [2]int64 // from, to
	}{
		"of secrets that are read whole": {100, 3, 100, [2]int64{100 * 3 * 80_000, 100 * 3 * 85_000}, [2]int64{room * 9 / 10, room}},
		"of large secrets":               {20, 10, 60, [2]int64{0, 20 * 150_000}, [2]int64{0, 20 * 150_000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := new(meter)
				e := inMemory(t, func(abeja http.RoundTripper) http.RoundTripper {
					m.RoundTripper = abeja
					return m
				})
				value := func(secret, version int) string { return fmt.Sprint(secret, version, strings.Repeat("-hidden-", 7500)) }
				for i := range c.secrets {
					e.sim.Create(fmt.Sprint("secret_", i), []byte(value(i, 1)))
					for v := 2; v <= c.versions; v++ {
						e.sim.AddVersion(fmt.Sprint("secret_", i), []byte(value(i, v)))
					}
				}
				e.list("secrets/").ok()
				e.sim.ResetRequests()
				m.read, m.most = 0, 0
				var all sync.WaitGroup
				for i := range c.secrets {
					all.Go(func() {
						got := e.read(fmt.Sprint("secrets/secret_", i)).ok()
						require.True(t, got["value"] == value(i, c.versions), "secret %d", i)
					})
				}
				all.Wait()
				require.Equal(t, c.requests, e.sim.Count(simulator.GetSecret, simulator.GetVersion))
				require.GreaterOrEqual(t, m.read, c.read[0])
				require.LessOrEqual(t, m.read, c.read[1])
				require.GreaterOrEqual(t, m.most, c.most[0])
				require.LessOrEqual(t, m.most, c.most[1])
				require.Zero(t, m.held)
				require.Nil(t, e.read("status").ok()["last_error"], "an answer that is given up for its size is none")
			})
		})
	}
}
