package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// inBubble runs a test with time that only passes while all wait.
func inBubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }

var errRST = errors.New("connection reset by peer")

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		repeated := map[int]bool{429: true, 500: true, 502: true, 503: true, 504: true}
		for _, x := range exchanges() {
			for _, status := range []int{400, 401, 403, 404, 405, 409, 422, 429, 500, 501, 502, 503, 504} {
				want := 1
				if status == 429 || x.method != "POST" && repeated[status] {
					want = 4
				}
				s := always(status, `{}`)
				err := x.call(t.Context(), newClient(t, s, retries(3)))
				require.Equal(t, status, asError(t, err).Status)
				require.Len(t, s.requests, want, "%s %d", x.op, status)
			}

			want := 4
			if x.method == "POST" {
				want = 1
			}
			cut := &server{answer: func(int, *http.Request) (*http.Response, error) {
				resp := reply(200, "")
				resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(x.answer[:20]), failingReader{}))
				return resp, nil
			}}
			for _, s := range []*server{failing(errRST), cut} {
				require.ErrorIs(t, x.call(t.Context(), newClient(t, s, retries(3))), ErrUnavailable)
				require.Len(t, s.requests, want, x.op)
			}
		}
	})
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errRST }

func TestARepetitionIsTheSameRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		for _, x := range exchanges() {
			s := inTurn(x.answer, 429, 429)
			require.NoError(t, x.call(t.Context(), newClient(t, s, retries(2))))
			require.Len(t, s.requests, 3)
			for _, r := range s.requests[1:] {
				require.Equal(t, s.requests[0].Method, r.Method)
				require.Equal(t, s.requests[0].URL.String(), r.URL.String())
				require.Equal(t, s.requests[0].Header, r.Header)
				require.Equal(t, s.requests[0].body, r.body)
			}
		}
	})
}

func TestWaitsBetweenTriesGrowWithinTheirBounds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		s := always(500, "")
		require.Error(t, callOf(OpGetSecret)(t.Context(), newClient(t, s, retries(4))))
		for i := 1; i < len(s.requests); i++ {
			gap := s.requests[i].at.Sub(s.requests[i-1].at)
			require.GreaterOrEqual(t, gap, time.Duration(i)*retryWaitMin)
			require.LessOrEqual(t, gap, time.Duration(i)*retryWaitMax)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	const wait = 7 * time.Second
	for form, header := range map[string]func() string{
		"seconds": func() string { return "7" },
		"date":    func() string { return time.Now().Add(wait).UTC().Format(http.TimeFormat) },
		"old date": func() string {
			return time.Now().Add(wait).UTC().Format(time.ANSIC)
		},
	} {
		t.Run(form, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				for op, statuses := range map[Op][]int{OpGetSecret: {429, 500, 502, 503, 504}, OpCreateVersion: {429}} {
					for _, status := range statuses {
						s := &server{answer: func(n int, r *http.Request) (*http.Response, error) {
							if n == 1 {
								return reply(status, "", "Retry-After", header()), nil
							}
							if r.Method == "POST" {
								return reply(201, versionJSON), nil
							}
							return reply(200, secretJSON), nil
						}}
						require.NoError(t, callOf(op)(t.Context(), newClient(t, s, retries(1))))
						require.Equal(t, wait, s.requests[1].at.Sub(s.requests[0].at), status)
					}
				}
			})
		})
	}
}

func TestARetryAfterThatSaysNothingIsPassedOver(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		for _, header := range []string{"", "soon", "0", "-1", "99999999999999999999", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)} {
			s := always(429, "", "Retry-After", header)
			err := callOf(OpGetSecret)(t.Context(), newClient(t, s, retries(1)))
			require.Zero(t, asError(t, err).RetryAfter, header)
			gap := s.requests[1].at.Sub(s.requests[0].at)
			require.GreaterOrEqual(t, gap, retryWaitMin, header)
			require.LessOrEqual(t, gap, retryWaitMax, header)
		}
	})
}

func TestAWaitThatOutlastsTheDeadlineIsNotBegun(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		for _, x := range exchanges() {
			for _, header := range []string{"31", "9223372037", time.Now().Add(31 * time.Second).UTC().Format(http.TimeFormat)} {
				s := always(429, `{"error_description":"slow down"}`, "Retry-After", header)
				start := time.Now()
				err := x.call(t.Context(), newClient(t, s, retries(3)))
				require.ErrorIs(t, err, ErrRateLimited)
				require.Equal(t, "slow down", asError(t, err).Description)
				require.GreaterOrEqual(t, asError(t, err).RetryAfter, 31*time.Second)
				require.Zero(t, time.Since(start))
				require.Len(t, s.requests, 1)
			}
		}

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s := always(503, "", "Retry-After", "6")
		require.ErrorIs(t, callOf(OpGetSecret)(ctx, newClient(t, s, retries(3))), ErrUnavailable)
		require.Len(t, s.requests, 1, "the caller's deadline counts too")
	})
}

func TestRepetitionsCountForTheRateLimit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		s := inTurn(secretJSON, 503, 429)
		c := newClient(t, s, retries(2), func(cfg *Config) { cfg.Limiter = rate.NewLimiter(0.5, 1) })
		start := time.Now()
		for range 2 {
			require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
		}
		require.Len(t, s.requests, 4)
		for i, r := range s.requests {
			require.Equal(t, time.Duration(i)*2*time.Second, r.at.Sub(start))
		}
	})
}

func TestTheRateLimitAllowsABurstOfOneSecond(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		s := always(200, secretJSON)
		c := newClient(t, s, func(cfg *Config) { cfg.Limiter = rate.NewLimiter(2, 2) })
		start := time.Now()
		for range 4 {
			require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
		}
		require.Zero(t, s.requests[1].at.Sub(start))
		require.Equal(t, time.Second, s.requests[3].at.Sub(start))
	})
}

func TestACallThatTheRateLimitLeavesNoRoomForIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		for _, x := range exchanges() {
			s := always(200, x.answer)
			c := newClient(t, s, retries(3), func(cfg *Config) { cfg.Limiter, cfg.Timeout = rate.NewLimiter(0.1, 1), 5*time.Second })
			require.NoError(t, x.call(t.Context(), c))
			start := time.Now()
			err := x.call(t.Context(), c)
			require.ErrorIs(t, err, ErrRateLimited)
			require.False(t, asError(t, err).OutcomeUnknown(), "nothing was sent")
			require.Zero(t, time.Since(start))
			require.Len(t, s.requests, 1)
		}
	})
}

func TestTheRateLimitDoesNotHideWhatAnEarlierTryMayHaveDone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		s := failing(errRST)
		c := newClient(t, s, retries(1), func(cfg *Config) { cfg.Limiter, cfg.Timeout = rate.NewLimiter(0.1, 1), 5*time.Second })
		err := callOf(OpUpdateSecret)(t.Context(), c)
		requireKind(t, ErrRateLimited, err)
		require.True(t, asError(t, err).OutcomeUnknown())
		require.Len(t, s.requests, 1)
	})
}

func TestTheSimulatorsRateLimitIsRiddenOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Behavior: simulator.Behavior{RateLimit: 1, RateLimitRetryAfter: true}})
		c := newClient(t, sim.Transport(), retries(2))
		for _, name := range []string{"a", "b", "c"} {
			_, err := c.CreateSecret(t.Context(), NewSecret{Name: name, Value: []byte(value)})
			require.NoError(t, err)
		}
		require.Equal(t, 3, sim.Len())
		require.Equal(t, 5, sim.Count(simulator.CreateSecret))
	})
}

func TestACallEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simulator.Fault{
		"no answer": {Kind: simulator.FaultDelay, Delay: time.Hour},
		"slow body": {Kind: simulator.FaultSlow, Delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				sim := simulator.New(simulator.Options{})
				sim.Fill(3)
				sim.AddFault(fault)
				list := callOf(OpListSecrets)
				c := newClient(t, sim.Transport(), retries(3), func(cfg *Config) { cfg.Timeout = 10 * time.Second })
				start := time.Now()
				err := list(t.Context(), c)
				require.ErrorIs(t, err, ErrTimeout)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.True(t, asError(t, err).OutcomeUnknown())
				require.Equal(t, 10*time.Second, time.Since(start))

				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start = time.Now()
				require.ErrorIs(t, list(ctx, c), ErrTimeout)
				require.Equal(t, 3*time.Second, time.Since(start), "the caller's deadline counts too")

				start = time.Now()
				require.ErrorIs(t, list(t.Context(), newClient(t, sim.Transport())), ErrTimeout)
				require.Equal(t, DefaultTimeout, time.Since(start))
			})
		})
	}
}

func TestRetriesEndWithTheTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		s := always(503, "")
		start := time.Now()
		err := callOf(OpGetSecret)(t.Context(), newClient(t, s, retries(1000)))
		require.ErrorIs(t, err, ErrTimeout)
		require.Equal(t, DefaultTimeout, time.Since(start))
	})
}

func TestACallerWhoGivesUpGetsTheContextsError(t *testing.T) {
	t.Parallel()
	hanging := &server{answer: func(_ int, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}}
	stalling := &server{answer: func(_ int, r *http.Request) (*http.Response, error) {
		resp := reply(200, "")
		resp.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		}))
		return resp, nil
	}}
	for name, s := range map[string]*server{
		"before the answer": hanging,
		"in the body":       stalling,
		"between tries":     always(429, "", "Retry-After", "20"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				for _, x := range exchanges() {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Second, cancel)
					start := time.Now()
					require.Equal(t, context.Canceled, x.call(ctx, newClient(t, s, retries(3))))
					require.Equal(t, time.Second, time.Since(start))
				}
			})
		})
	}
	t.Run("before the call", func(t *testing.T) {
		s := always(200, secretJSON)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, context.Canceled, callOf(OpGetSecret)(ctx, newClient(t, s, retries(3))))
		require.Empty(t, s.requests)
	})
	t.Run("waiting for the rate limit", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			c := newClient(t, always(200, secretJSON), func(cfg *Config) { cfg.Limiter = rate.NewLimiter(0.1, 1) })
			require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			require.Equal(t, context.Canceled, callOf(OpGetSecret)(ctx, c))
		})
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// hangs hangs in the first n requests, before the answer or in its body.
func hangs(n int, inBody bool, answer string) *server {
	return &server{answer: func(i int, r *http.Request) (*http.Response, error) {
		if i > n {
			return reply(200, answer), nil
		}
		if !inBody {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		resp := reply(200, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(answer[:20]), readerFunc(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		})))
		return resp, nil
	}}
}

func TestATryThatHangsLeavesRoomForTheNext(t *testing.T) {
	t.Parallel()
	for _, inBody := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			for _, x := range exchanges() {
				s := hangs(1, inBody, x.answer)
				start := time.Now()
				err := x.call(t.Context(), newClient(t, s, retries(3)))
				if x.method == "POST" { // which is not sent again
					require.ErrorIs(t, err, ErrTimeout, x.op)
					require.Equal(t, DefaultTimeout, time.Since(start))
					require.Len(t, s.requests, 1)
					continue
				}
				require.NoError(t, err, x.op)
				require.Len(t, s.requests, 2)
				wait := s.requests[1].at.Sub(start) - DefaultTimeout/2
				require.GreaterOrEqual(t, wait, retryWaitMin)
				require.LessOrEqual(t, wait, retryWaitMax)
			}
		})
	}
}

func TestTheLastTryHasAllTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		for _, example := range []struct {
			timeout              time.Duration
			retries, least, most int
		}{
			{DefaultTimeout, 0, 1, 1}, {DefaultTimeout, 1, 2, 2}, {DefaultTimeout, 3, 3, 4}, {DefaultTimeout, 10, 3, 5},
			{time.Second, 3, 1, 1}, {2*time.Second - 1, 3, 1, 1}, {2 * time.Second, 3, 2, 2},
		} {
			s := hangs(100, false, "")
			c := newClient(t, s, retries(example.retries), func(cfg *Config) { cfg.Timeout = example.timeout })
			start := time.Now()
			err := callOf(OpUpdateSecret)(t.Context(), c)
			require.ErrorIs(t, err, ErrTimeout, "%+v", example)
			require.True(t, asError(t, err).OutcomeUnknown())
			require.Equal(t, example.timeout, time.Since(start), "%+v", example)
			require.GreaterOrEqual(t, len(s.requests), example.least, "%+v", example)
			require.LessOrEqual(t, len(s.requests), example.most, "%+v", example)
		}
		s := hangs(100, false, "")
		start := time.Now()
		require.ErrorIs(t, callOf(OpGetSecret)(Once(t.Context()), newClient(t, s, retries(3))), ErrTimeout)
		require.Equal(t, DefaultTimeout, time.Since(start))
		require.Len(t, s.requests, 1)
	})
}

func TestATryHasHalfOfTheCallersTimeToo(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		s := hangs(1, false, secretJSON)
		start := time.Now()
		require.NoError(t, callOf(OpGetSecret)(ctx, newClient(t, s, retries(1))))
		require.Less(t, time.Since(start), 5*time.Second)
	})
}

func TestTheWaitForTheRateLimitIsNoPartOfATrysTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		slow := &server{answer: func(int, *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			return reply(200, secretJSON), nil
		}}
		c := newClient(t, slow, retries(1), func(cfg *Config) { cfg.Limiter = rate.NewLimiter(0.05, 1) })
		for range 2 { // the second waits 16 s
			require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
		}
		require.Len(t, slow.requests, 2)
	})
}
