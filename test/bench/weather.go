package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// weatherConfig keeps each value for a second.
var weatherConfig = map[string]any{"cache_ttl": "1s", "stale_if_error": "1h", "keep_last_good": true}

// badWeather has ABEJA fail in the ways that it does, and times who reads and writes.
func badWeather(ctx context.Context, t *tools, p plan, r *report) error {
	measurements := []func(context.Context, *tools, plan, *report) error{hangs, restart, revalidation}
	if p.forgotten {
		measurements = append(measurements, forgotten)
	}
	for _, measure := range measurements {
		if err := measure(ctx, t, p, r); err != nil {
			return err
		}
	}
	return nil
}

// timed makes one request to Vault, whatever its answer.
func (v *vault) timed(ctx context.Context, method, path string, in any) (seconds float64, a vaulttest.Answer) {
	begun := time.Now()
	a = v.Call(ctx, vaulttest.RootToken, method, path, in)
	return time.Since(begun).Seconds(), a
}

// repeated makes a request again and again, and returns the median time.
func (v *vault) repeated(ctx context.Context, method, path string, status int) (seconds float64, err error) {
	var all []float64
	for range 20 {
		s, a := v.timed(ctx, method, path, nil)
		if a.Status != status {
			return 0, fmt.Errorf("%s %s: %v", method, path, a)
		}
		all = append(all, s)
	}
	return median(all), nil
}

// kept has the plugin keep a value that is too old to be given without asking ABEJA.
func (v *vault) kept(ctx context.Context, name string) error {
	if _, err := v.read(ctx, "abeja/secrets/"+name); err != nil {
		return err
	}
	time.Sleep(1100 * time.Millisecond)
	return nil
}

const (
	secondsAtOnce = 0.05 // on a machine that does all at once
	secondsOfOne  = 1.1  // with what Vault takes
)

// hangs has ABEJA accept and say nothing. What is not kept is asked of a second Vault, which does not know
// yet that ABEJA hangs.
func hangs(ctx context.Context, t *tools, p plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, 10, 0, weatherConfig)
	if err != nil {
		return err
	}
	defer stop()
	other, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer other.Stop()
	if err := other.Mount(ctx, "abeja", s.Config(map[string]any{"request_timeout": p.timeout.String()})); err != nil {
		return err
	}
	if _, err := other.read(ctx, "abeja/secrets/"+demoName(1)); err != nil {
		return err
	}
	if err := v.kept(ctx, demoName(0)); err != nil {
		return err
	}
	if _, err := s.Control(ctx, http.MethodPost, "faults", map[string]string{"kind": "hang"}); err != nil {
		return err
	}
	first, a := v.timed(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), nil)
	if !a.OK() || len(a.Warnings) == 0 {
		return fmt.Errorf("a kept value while ABEJA hangs: %v", a)
	}
	next, err := v.repeated(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), http.StatusOK)
	if err != nil {
		return err
	}
	r.sees("ABEJA hangs: the first read of a kept value, s", first, secondsOfOne)
	r.sees("the same: the next, s", next, secondsAtOnce)

	first, a = other.timed(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), nil)
	if a.OK() {
		return fmt.Errorf("a value that is not kept while ABEJA hangs: %v", a)
	}
	if next, err = other.repeated(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), http.StatusServiceUnavailable); err != nil {
		return err
	}
	r.sees(fmt.Sprintf("ABEJA hangs: the first read of a value that is not kept, with request_timeout=%s, s", p.timeout), first, p.timeout.Seconds()+0.1)
	r.sees("the same: the next, which is 503, s", next, secondsAtOnce)
	if next, err = other.repeated(ctx, http.MethodDelete, "abeja/secrets/"+demoName(1), http.StatusServiceUnavailable); err != nil {
		return err
	}
	r.sees("the same: a delete, which is 503, s", next, secondsAtOnce)
	return nil
}

// restart has the plugin begin anew while ABEJA cuts each connection.
func restart(ctx context.Context, t *tools, _ plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, 10, 0, weatherConfig)
	if err != nil {
		return err
	}
	defer stop()
	if err := v.kept(ctx, demoName(0)); err != nil {
		return err
	}
	if err := v.stored(ctx); err != nil {
		return err
	}
	if _, err := s.Control(ctx, http.MethodPost, "faults", map[string]string{"kind": "cut"}); err != nil {
		return err
	}
	if err := v.reload(ctx); err != nil {
		return err
	}
	first, a := v.timed(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), nil)
	if !a.OK() || len(a.Warnings) == 0 {
		return fmt.Errorf("a value that was kept before the restart: %v", a)
	}
	r.sees("ABEJA cuts connections and the plugin restarts: a value read before, with its age, s", first, secondsOfOne)
	return nil
}

// stored waits until keep_last_good has a value in Vault's storage.
func (v *vault) stored(ctx context.Context) error {
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(100 * time.Millisecond) {
		status, err := v.readSecret(ctx, "abeja/status")
		if err != nil {
			return err
		}
		if n, _ := status.Data["last_good_entries"].(float64); n > 0 {
			return nil
		}
	}
	return fmt.Errorf("nothing was stored by keep_last_good")
}

// revalidation reads a value that is just too old from an ABEJA that takes its time.
func revalidation(ctx context.Context, t *tools, _ plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, 10, 0, map[string]any{"cache_ttl": "1s", "stale_while_revalidate": "1m"})
	if err != nil {
		return err
	}
	defer stop()
	if err := v.kept(ctx, demoName(0)); err != nil {
		return err
	}
	if err := s.setLatency(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	first, a := v.timed(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), nil)
	if !a.OK() {
		return fmt.Errorf("a value just past cache_ttl: %v", a)
	}
	r.sees("ABEJA takes 500 ms: a read just past cache_ttl, with stale_while_revalidate, s", first, secondsAtOnce)
	return nil
}

// forgotten reads over an HTTP/2 connection that a NAT has forgotten: what is sent is lost, and nobody says so.
func forgotten(ctx context.Context, t *tools, _ plan, r *report) error {
	s, err := startSimulator(ctx, t, 10, 0)
	if err != nil {
		return err
	}
	defer s.Stop()
	abeja, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(abeja))
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	nat, err := listenNAT(front.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer nat.Close()
	v, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := v.Mount(ctx, "abeja", s.Config(map[string]any{"api_url": "https://" + nat.Addr().String(), "ca_cert": string(ca)})); err != nil {
		return err
	}
	if _, err := v.read(ctx, "abeja/secrets/"+demoName(0)); err != nil {
		return err
	}
	nat.forget()
	begun, failed := time.Now(), 0
	for ; ; failed++ {
		if _, a := v.timed(ctx, http.MethodGet, "abeja/secrets/"+demoName(0), nil); a.OK() {
			break
		} else if failed == 20 {
			return fmt.Errorf("the connection is not left: %v", a)
		}
	}
	r.sees("a NAT forgets the HTTP/2 connection: calls that fail before one is good", float64(failed), 1)
	r.sees("the same: time until one is good, s", time.Since(begun).Seconds(), 60)
	return nil
}
