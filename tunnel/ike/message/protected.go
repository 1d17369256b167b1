package message

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Split cuts an encrypted payload's body into what stands in it: an initialization vector of ivLen octets, the ciphertext,
// and an integrity check value of icvLen octets. The parts alias the datagram.
func Split(body []byte, ivLen, icvLen int) (iv, ciphertext, icv []byte, err error) {
	if len(body) < ivLen+icvLen {
		return nil, nil, nil, &SyntaxError{
			Payload: PayloadSK, Field: "encrypted body",
			Offered: octets(len(body)), Wanted: octets(ivLen+icvLen) + " or more",
		}
	}
	end := len(body) - icvLen
	return body[:ivLen:ivLen], body[ivLen:end:end], body[end:], nil
}

// AppendSK appends a message up to the body of its SK payload: header, payloads in the clear (mostly none) and the SK
// payload's generic header. first is the type of the first payload inside: see FirstKind. What was appended is the
// associated data of an AEAD (RFC 5282 section 5.1). The caller then appends exactly n octets: initialization vector,
// ciphertext and integrity check value.
func AppendSK(b []byte, h Header, clear []Payload, first PayloadType, n int) ([]byte, error) {
	return appendProtected(b, h, clear, &SK{First: first}, n)
}

// AppendSKF is AppendSK for a fragment (RFC 7383 section 2.5): number of total. first is that of the whole, and is sent as
// NoNext with all but number 1.
func AppendSKF(b []byte, h Header, clear []Payload, first PayloadType, number, total uint16, n int) ([]byte, error) {
	if number != 1 {
		first = NoNext
	}
	return appendProtected(b, h, clear, &SKF{First: first, Number: number, Total: total}, n)
}

func appendProtected(b []byte, h Header, clear []Payload, p Payload, n int) ([]byte, error) {
	start := len(b)
	m := Message{Header: h, Payloads: append(clear[:len(clear):len(clear)], p)}
	b, err := m.Append(b)
	if err != nil {
		return nil, err
	}
	at := len(b) - genericLen
	if p.Kind() == PayloadSKF {
		at -= skfLen
	}
	length := len(b) - at + n
	if n < 0 || length > math.MaxUint16 {
		return nil, fmt.Errorf("append %v payload: a body of %d octets does not fit", p.Kind(), n)
	}
	binary.BigEndian.PutUint16(b[at+2:], uint16(length))
	setLength(b[start:], n)
	return b, nil
}

// skfLen is the length of an SKF payload's fields before its initialization vector.
const skfLen = 4

func parseSKF(s span, r *reader) (*SKF, error) {
	if err := r.need(skfLen, "fragment header"); err != nil {
		return nil, err
	}
	f := &SKF{First: s.next, Number: r.u16(), Total: r.u16()}
	switch {
	case f.Number == 0 || f.Number > f.Total:
		return nil, r.bad("fragment number", skfLen, f.Number, fmt.Sprintf("1 to the total of %d", f.Total))
	case f.Number != 1 && f.First != NoNext:
		return nil, r.bad("next payload", skfLen+genericLen, f.First, fmt.Sprintf("%v in fragment %d", NoNext, f.Number))
	}
	f.Body, f.Offset = r.b, r.at
	return f, nil
}

func (s *SK) appendBody(b []byte) ([]byte, error) { return append(b, s.Body...), nil }

func (f *SKF) appendBody(b []byte) ([]byte, error) {
	if f.Number == 0 || f.Number > f.Total || f.Number != 1 && f.First != NoNext {
		return nil, fmt.Errorf("fragment %d of %d that begins with %v", f.Number, f.Total, f.First)
	}
	b = binary.BigEndian.AppendUint16(b, f.Number)
	b = binary.BigEndian.AppendUint16(b, f.Total)
	return append(b, f.Body...), nil
}
