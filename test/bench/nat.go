package main

import (
	"io"
	"net"
	"sync/atomic"
)

// nat passes connections on, until it forgets those that there are.
type nat struct {
	net.Listener
	to   string
	age  atomic.Int32
	back atomic.Int64 // bytes of answers
}

func listenNAT(to string) (*nat, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &nat{Listener: l, to: to}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go n.pass(from)
		}
	}()
	return n, nil
}

// forget loses what comes from now on over the connections that there are, without a word to anybody.
func (n *nat) forget() { n.age.Add(1) }

func (n *nat) pass(from net.Conn) {
	to, err := net.Dial("tcp", n.to)
	if err != nil {
		from.Close()
		return
	}
	age := n.age.Load()
	one := func(dst, src net.Conn) {
		io.Copy(writerFunc(func(p []byte) (int, error) {
			if src == to {
				n.back.Add(int64(len(p)))
			}
			if n.age.Load() != age {
				return len(p), nil
			}
			return dst.Write(p)
		}), src)
		if n.age.Load() == age {
			dst.Close()
		}
	}
	go one(to, from)
	one(from, to)
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
