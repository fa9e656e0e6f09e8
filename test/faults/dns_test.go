package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// dns knows the host names of these tests, and no other.
var dns zone

// zone answers as a DNS server does.
type zone struct{ addresses sync.Map } // by name

func (z *zone) set(name, address string) { z.addresses.Store(name, net.ParseIP(address).To4()) }
func (z *zone) remove(name string)       { z.addresses.Delete(name) }

// dial is net.Resolver's. What comes over a connection that keeps no packets apart has its length
// in front (RFC 1035, 4.2.2).
func (z *zone) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		var length [2]byte
		for {
			if _, err := io.ReadFull(far, length[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(far, query); err != nil {
				return
			}
			answer := z.answer(query)
			if _, err := far.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
				return
			}
		}
	}()
	return near, nil
}

// answer answers a query for the addresses of one name (RFC 1035, 4.1).
func (z *zone) answer(query []byte) []byte {
	const header, typeA = 12, 1
	end := header
	var name []byte
	for query[end] != 0 {
		label := query[end+1 : end+1+int(query[end])]
		name, end = append(append(name, label...), '.'), end+1+len(label)
	}
	question := query[header : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])

	address, known := z.addresses.Load(string(bytes.TrimSuffix(name, []byte("."))))
	flags, answers := []byte{0x81, 0x80}, byte(0) // an answer, recursion wanted and available
	var record []byte
	switch {
	case !known:
		flags[1] |= 3 // no such name
	case kind == typeA:
		answers = 1
		record = append([]byte{0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4}, address.(net.IP)...) // the question's name, IN, not to be kept
	}
	answer := append(bytes.Clone(query[:2]), flags...)
	answer = append(answer, 0, 1, 0, answers, 0, 0, 0, 0)
	return append(append(answer, question...), record...)
}
