package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// padded is a secret in an answer of so many bytes.
func padded(size int) string { return secretJSON + strings.Repeat(" ", size-len(secretJSON)) }

// told is an answer of which the length is told.
func told(body string) *http.Response {
	resp := reply(200, body)
	resp.ContentLength = int64(len(body))
	return resp
}

// slowly is a body that takes its time behind the bytes that a small answer has. now counts those that
// are being read, or decoded.
type slowly struct {
	io.Reader
	takes time.Duration
	now   *held
	bytes int
	read  int
	in    bool
}

// held is what the slow bodies have at the same time.
type held struct {
	sync.Mutex
	bytes, most int
}

func (h *held) add(n int) {
	h.Lock()
	defer h.Unlock()
	h.bytes += n
	h.most = max(h.most, h.bytes)
}

func (b *slowly) Read(p []byte) (int, error) {
	if b.read >= small && !b.in {
		b.in = true
		b.now.add(b.bytes)
		time.Sleep(b.takes)
	}
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *slowly) Close() error {
	if b.in {
		b.now.add(-b.bytes)
	}
	return nil
}

// slowServer answers each request with so many bytes, which take their time.
func slowServer(h *held, size int, takes time.Duration, length bool) *server {
	return &server{answer: func(int, *http.Request) (*http.Response, error) {
		resp := told(padded(size))
		if !length {
			resp.ContentLength = -1
		}
		resp.Body = &slowly{Reader: strings.NewReader(padded(size)), takes: takes, now: h, bytes: size}
		return resp, nil
	}}
}

func in(room *Room) func(*Config) { return func(cfg *Config) { cfg.Room = room } }

func TestNoMoreBytesOfAnswersAreHeldThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	const many = 60
	for name, length := range map[string]bool{"of lengths that are told": true, "of lengths that are not told": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 100 << 10
				most := size // what one takes
				if !length {
					most = 2 * size
				}
				h := new(held)
				s := slowServer(h, size, 100*time.Millisecond, length)
				room := NewRoom(int64(3*most), nil)
				clients := []*Client{newClient(t, s, in(room)), newClient(t, s, in(room))}
				begin := time.Now()
				var all sync.WaitGroup
				for i := range many {
					all.Go(func() {
						_, err := clients[i%2].GetSecret(t.Context(), secretID, ReadOptions{MaxBytes: int64(most)})
						require.NoError(t, err)
					})
				}
				all.Wait()
				require.Equal(t, 3*size, h.most)
				require.Equal(t, many/3*100*time.Millisecond, time.Since(begin), "as many at the same time as there is room for")
				require.Len(t, s.requests, many)
			})
		})
	}
}

func TestAnAnswerThatDoesNotTellItsLengthLeavesRoomToOthersWhileItHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room := NewRoom(maxAnswer, nil)
		get := func(size int, takes time.Duration, length bool) {
			c := newClient(t, slowServer(new(held), size, takes, length), in(room))
			_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
			require.NoError(t, err)
		}
		var hanging sync.WaitGroup
		for range 3 {
			hanging.Go(func() { get(100<<10, 5*time.Second, false) })
		}
		synctest.Wait()
		begin := time.Now()
		get(100<<10, 0, true)
		get(100<<10, 0, false)
		require.Zero(t, time.Since(begin))
		hanging.Wait()
	})
}

func TestLargeAnswersThatDoNotTellTheirLengthAreAllRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(new(held), 2*untold, time.Second, false)
		c := newClient(t, s, in(NewRoom(maxAnswer, nil)))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
				require.NoError(t, err)
			})
		}
		all.Wait()
		require.Len(t, s.requests, 3)
	})
}

func TestAnAnswerThatIsLargerThanTheRoomIsReadAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := new(held)
		c := newClient(t, slowServer(h, 100<<10, time.Second, true), in(NewRoom(50<<10, nil)))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { require.NoError(t, callOf(OpGetSecret)(t.Context(), c)) })
		}
		all.Wait()
		require.Equal(t, 100<<10, h.most)
	})
}

func TestASmallAnswerNeedsNoRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room := NewRoom(1, nil)
		leave, err := room.enter(t.Context(), 1)
		require.NoError(t, err)
		defer leave()
		begin := time.Now()
		for _, answer := range []*http.Response{reply(200, padded(small-1)), told(padded(small))} {
			s := &server{answer: func(int, *http.Request) (*http.Response, error) { return answer, nil }}
			require.NoError(t, callOf(OpGetSecret)(t.Context(), newClient(t, s, in(room))))
		}
		require.Zero(t, time.Since(begin))
	})
}

// outcomes is a Gate that lets all through and remembers how it ended.
type outcomes []error

func (o *outcomes) Enter(bool) *NotAskedError { return nil }
func (o *outcomes) Leave(out Outcome)         { *o = append(*o, out.Err) }

func TestAnAnswerThatFindsNoRoomInTimeIsAnAnswerAllTheSame(t *testing.T) {
	t.Parallel()
	for name, retry := range map[string]int{"with the only try": 0, "with the first of several": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := NewRoom(1, nil)
				leave, err := room.enter(t.Context(), 1)
				require.NoError(t, err)
				var gate outcomes
				s := slowServer(new(held), 100<<10, 0, true)
				c := newClient(t, s, in(room), retries(retry), func(cfg *Config) { cfg.Gate = &gate })
				err = callOf(OpGetSecret)(t.Context(), c)
				requireKind(t, ErrTimeout, err)
				require.ErrorContains(t, err, "no room")
				require.Len(t, s.requests, 1, "it is not asked for again")
				require.Equal(t, outcomes{nil}, gate)
				require.Nil(t, c.sent.timedOut.Load(), "no connection is taken for dead")

				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				require.ErrorIs(t, callOf(OpGetSecret)(ctx, c), context.Canceled)

				leave()
				require.NoError(t, callOf(OpGetSecret)(t.Context(), c), "who has given up leaves no trace")
			})
		})
	}
}

func TestARoomOfItsOwnLeavesSomeOfTheSharedOneToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size = 100 << 10
		shared := NewRoom(2*size, nil)
		trickling := newClient(t, slowServer(new(held), size, time.Hour, true), in(NewRoom(size, shared)))
		other := newClient(t, slowServer(new(held), size, time.Second, true), in(NewRoom(size, shared)))
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { requireKind(t, ErrTimeout, callOf(OpGetSecret)(t.Context(), trickling)) })
		}
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, callOf(OpGetSecret)(t.Context(), other))
		require.Equal(t, time.Second, time.Since(begin))
		all.Wait()
		leave, err := shared.enter(t.Context(), 2*size)
		require.NoError(t, err, "all have left")
		leave()
	})
}

func TestWhatIsInARoomIsInTheSharedOneToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size = 100 << 10
		h := new(held)
		shared := NewRoom(3*size, nil)
		rooms := []*Room{NewRoom(2*size, shared), NewRoom(2*size, shared)}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				require.NoError(t, callOf(OpGetSecret)(t.Context(), newClient(t, slowServer(h, size, time.Second, true), in(rooms[i%2]))))
			})
		}
		all.Wait()
		require.Equal(t, 3*size, h.most)

		leave, err := shared.enter(t.Context(), 3*size)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = rooms[0].enter(ctx, 2*size)
		require.Error(t, err)
		leave()
		leave, err = rooms[0].enter(t.Context(), 2*size)
		require.NoError(t, err, "who has given up holds nothing")
		leave()
	})
}

func TestABodyThatBreaksLeavesTheRoomAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size = 100 << 10
		s := &server{answer: func(n int, _ *http.Request) (*http.Response, error) {
			resp := told(padded(size))
			if n == 1 {
				resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 2*small)), broken{}))
			}
			return resp, nil
		}}
		c := newClient(t, s, in(NewRoom(size, nil)), retries(1))
		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, callOf(OpGetSecret)(t.Context(), c)) })
		synctest.Wait() // the first try has failed
		begin := time.Now()
		require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
		require.Zero(t, time.Since(begin), "while the other waits before it tries again")
		all.Wait()
		require.Len(t, s.requests, 3)
	})
}

// broken is the end of a body whose connection was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestAnAnswerLargerThanTheCallerAllowsIsGivenUp(t *testing.T) {
	t.Parallel()
	const size = 100_000
	for name, length := range map[string]int64{"with its length": size, "without its length": -1} {
		read := 0
		s := &server{answer: func(int, *http.Request) (*http.Response, error) {
			resp, body := told(padded(size)), strings.NewReader(padded(size))
			resp.ContentLength = length
			resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
				n, err := body.Read(p)
				read += n
				return n, err
			}))
			return resp, nil
		}}
		var gate outcomes
		c := newClient(t, s, retries(3), func(cfg *Config) { cfg.Gate = &gate })
		for most, want := range map[int64]error{0: nil, size + 1: nil, size: nil, size - 1: ErrLarge, 1: ErrLarge} {
			read, s.requests, gate = 0, nil, nil
			secret, err := c.GetSecret(t.Context(), secretID, ReadOptions{MaxBytes: most})
			requireKind(t, want, err, name, most)
			require.Equal(t, want == nil, secret != nil)
			require.Len(t, s.requests, 1, "trying again cannot help")
			require.Equal(t, outcomes{nil}, gate, "it is an answer")
			switch {
			case want == nil:
				require.Equal(t, size, read)
			case length > 0:
				require.Zero(t, read)
			default:
				require.LessOrEqual(t, read, int(most)+1)
			}
		}
	}
	refusal := always(404, `{"error_description":"there is no such secret"}`)
	_, err := newClient(t, refusal).GetSecret(t.Context(), secretID, ReadOptions{MaxBytes: 1})
	require.ErrorContains(t, err, "there is no such secret", "a refusal is read all the same")
}

func TestOfTheValuesOnlyThoseAreKeptThatAreWanted(t *testing.T) {
	t.Parallel()
	version := func(n int) string {
		return fmt.Sprintf(`{"id":"%d","version":%d,"status":"active","value":%q}`, n, n, []string{"", "YQ==", "Yg==", "YWI="}[n])
	}
	answer := strings.Replace(secretJSON, versionJSON, version(1)+","+version(2)+","+version(3)+`,{"id":"4","version":4}`, 1)
	secret, err := newClient(t, always(200, answer)).GetSecret(t.Context(), secretID, ReadOptions{Values: true, Keep: func(value []byte) bool {
		return value[0] == 'a'
	}})
	require.NoError(t, err)
	require.Len(t, secret.Versions, 4)
	for i, want := range []string{"a", "", "ab", ""} {
		require.Equal(t, want, string(secret.Versions[i].Value))
		require.False(t, secret.Versions[i].Odd)
	}
}

// What comes over HTTP/2 before it is read waits in the process's memory.
func TestAnHTTP2ServerMaySendLittleOfAnAnswerBeforeItIsRead(t *testing.T) {
	t.Parallel()
	transport, err := newTransport("")
	require.NoError(t, err)
	defer transport.CloseIdleConnections()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	here, there := net.Pipe()
	defer there.Close()
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return here, nil }
	ctx, cancel := context.WithCancel(t.Context())
	var call sync.WaitGroup
	call.Go(func() {
		c := newClient(t, transport, func(cfg *Config) { cfg.BaseURL = "http://abeja.example" })
		require.Error(t, callOf(OpGetSecret)(ctx, c))
	})
	defer call.Wait()
	defer cancel()

	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	head := make([]byte, len(preface)+9)
	_, err = io.ReadFull(there, head)
	require.NoError(t, err)
	length := int(head[len(preface)])<<16 | int(head[len(preface)+1])<<8 | int(head[len(preface)+2])
	settings := make([]byte, length)
	_, err = io.ReadFull(there, settings)
	require.NoError(t, err)
	go io.Copy(io.Discard, there)
	window := 0
	for ; len(settings) >= 6; settings = settings[6:] {
		if settings[0] == 0 && settings[1] == 4 { // SETTINGS_INITIAL_WINDOW_SIZE
			window = int(settings[2])<<24 | int(settings[3])<<16 | int(settings[4])<<8 | int(settings[5])
		}
	}
	require.Equal(t, unread, window)
}
