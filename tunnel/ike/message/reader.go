package message

import (
	"encoding/binary"
	"fmt"
)

// A reader takes fields off a payload's body. It cannot be made to read beyond it.
type reader struct {
	b    []byte
	at   int // offset of b in what is parsed, for errors
	kind PayloadType
}

// bad is the error about the field which begins back octets before the reader.
func (r *reader) bad(field string, back int, offered any, wanted string) error {
	return &SyntaxError{Payload: r.kind, Offset: r.at - back, Field: field, Offered: fmt.Sprint(offered), Wanted: wanted}
}

// need says that n octets are left, or what is missing.
func (r *reader) need(n int, field string) error {
	if len(r.b) < n {
		return r.bad(field, 0, octets(len(r.b)), octets(n)+" or more")
	}
	return nil
}

// take returns n octets, which need has found to be there; they have no spare capacity.
func (r *reader) take(n int) []byte {
	b := r.b[:n:n]
	r.b, r.at = r.b[n:], r.at+n
	return b
}

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }

// rest takes all that is left: nil if that is nothing.
func (r *reader) rest() []byte {
	if len(r.b) == 0 {
		return nil
	}
	return r.take(len(r.b))
}

// bytes takes n octets as rest does.
func (r *reader) bytes(n int) []byte {
	if n == 0 {
		return nil
	}
	return r.take(n)
}

// sub takes n octets as a reader of their own.
func (r *reader) sub(n int) *reader {
	at := r.at
	return &reader{b: r.take(n), at: at, kind: r.kind}
}

// end says that nothing is left.
func (r *reader) end(field string) error {
	if len(r.b) != 0 {
		return r.bad(field, 0, octets(len(r.b))+" more", "its end")
	}
	return nil
}

func octets(n int) string {
	if n == 1 {
		return "1 octet"
	}
	return fmt.Sprintf("%d octets", n)
}
