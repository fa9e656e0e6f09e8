// Command abeja-simulator is an ABEJA Secret Manager on this machine, with made-up secrets, to try things
// without the real one. It prints what to export to reach it, and runs until it is interrupted. While it
// runs, its faults and switches can be set under /_simulator/; package internal/simulator tells how.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "abeja-simulator:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o simulator.Options
	flags := flag.NewFlagSet("abeja-simulator", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8700", "loopback `address` to listen on; port 0 takes a free one")
	secrets := flags.Int("secrets", 0, "how many made-up secrets to start with")
	useTLS := flags.Bool("tls", false, "serve HTTPS with a certificate made at start for 127.0.0.1, ::1 and localhost")
	caFile := flags.String("tls-ca", "", "`file` to write the CA certificate of -tls to, as PEM")
	flags.DurationVar(&o.Latency, "latency", 0, "how long each call takes")
	flags.StringVar(&o.OrganizationID, "organization", "", "organization `id` (default made up)")
	flags.StringVar(&o.UserID, "user", "", "user `id`, with or without \"user-\" (default made up)")
	flags.StringVar(&o.Token, "token", "", "personal access `token` (default made up)")
	flags.StringVar(&o.AuthToken, "auth-token", "", "auth `token` (default made up)")
	flags.Func("behavior", "switches as `JSON`, such as {\"order\":\"newest\",\"clear\":\"null\"}", func(text string) error {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&o.Behavior); err != nil {
			return err
		}
		return o.Behavior.Check()
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	}
	if *caFile != "" && !*useTLS {
		return errors.New("-tls-ca needs -tls")
	}

	sim := simulator.New(o)
	sim.Fill(*secrets)

	listener, err := listenLoopback(*listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	scheme := "http"
	if *useTLS {
		scheme = "https"
		certificate, caPEM, err := selfSigned()
		if err != nil {
			return err
		}
		if *caFile != "" {
			if err := os.WriteFile(*caFile, caPEM, 0o644); err != nil {
				return err
			}
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}

	server := &http.Server{Handler: sim}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	org, user, token, authToken := sim.Credentials()
	fmt.Fprintf(stdout, `export ABEJA_API_URL=%s://%s
export ABEJA_ORGANIZATION_ID=%s
export ABEJA_PLATFORM_USER_ID=%s
export ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN=%s
export PLATFORM_AUTH_TOKEN=%s
`, scheme, listener.Addr(), quote(org), quote(user), quote(token), quote(authToken))

	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenLoopback refuses other addresses: the control API asks for no credential.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("-listen: %q is not a loopback address: the simulator serves only this machine, use 127.0.0.1, [::1] or localhost", host)
	}
	return net.Listen("tcp", address)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// quote makes a word for a shell, without quotes where none are needed.
func quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
