package message

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// What is more than these is refused as INVALID_SYNTAX, so that hostile input costs a bounded amount of work.
const (
	MaxPayloads   = 64  // of a message, and of the inside of an SK payload
	MaxProposals  = 64  // of an SA payload
	MaxTransforms = 255 // of a proposal: its field has one octet
	MaxSelectors  = 255 // of a TS payload: its field has one octet
	MaxAttributes = 255 // of a CP payload, and of a transform
)

// genericLen is the length of the generic payload header.
const genericLen = 4

const criticalBit = 0x80

// A span is a payload that is not yet parsed: its body is b[start:end] of what was walked.
type span struct {
	kind, next PayloadType
	critical   bool
	start, end int
}

func protected(t PayloadType) bool { return t == PayloadSK || t == PayloadSKF }

// single says whether a message may have only one payload of the type.
func single(t PayloadType) bool {
	switch t {
	case PayloadCert, PayloadCertReq, PayloadNotify, PayloadDelete, PayloadVendorID:
		return false
	}
	return t >= PayloadSA && t <= PayloadEAP
}

// walk follows a chain of generic payload headers from b[at:] to the end of b, or to an SK or SKF payload, which has to
// reach to the end.
func walk(first PayloadType, b []byte, at int) ([]span, error) {
	var spans []span
	var seen [PayloadEAP + 1]bool
	for kind := first; kind != NoNext; {
		r := reader{b: b[at:], at: at, kind: kind}
		if len(spans) == MaxPayloads {
			return nil, r.bad("number of payloads", 0, "more", fmt.Sprintf("at most %d", MaxPayloads))
		}
		if err := r.need(genericLen, "generic payload header"); err != nil {
			return nil, err
		}
		s := span{kind: kind, next: PayloadType(r.u8()), critical: r.u8()&criticalBit != 0, start: at + genericLen}
		n := int(r.u16())
		if n < genericLen || n > len(b)-at {
			return nil, r.bad("payload length", 2, n, fmt.Sprintf("%d to %d", genericLen, len(b)-at))
		}
		s.end = at + n
		if single(kind) {
			if seen[kind] {
				return nil, r.bad("payload", genericLen, "a second one", "one")
			}
			seen[kind] = true
		}
		spans, at, kind = append(spans, s), s.end, s.next
		if protected(s.kind) {
			break
		}
	}
	r := reader{b: b[at:], at: at}
	if len(spans) != 0 {
		r.kind = spans[len(spans)-1].kind
	}
	return spans, r.end("last payload")
}

// parseSpans parses the payloads of what was walked. What it returns does not alias b, but for protected payloads.
func parseSpans(spans []span, b []byte) ([]Payload, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	clear := spans[len(spans)-1].end
	if protected(spans[len(spans)-1].kind) {
		clear = spans[len(spans)-1].start - genericLen
	}
	own := bytes.Clone(b[:clear])
	payloads := make([]Payload, 0, len(spans))
	for _, s := range spans {
		from := own
		if protected(s.kind) {
			from = b
		}
		p, err := parseBody(s, &reader{b: from[s.start:s.end:s.end], at: s.start, kind: s.kind})
		if err != nil {
			return nil, err
		}
		payloads = append(payloads, p)
	}
	return payloads, nil
}

func parseBody(s span, r *reader) (Payload, error) {
	switch s.kind {
	case PayloadSA:
		return parseSA(r)
	case PayloadKE:
		return parseKE(r)
	case PayloadIDi:
		id, err := parseID(r)
		return &IDi{id}, err
	case PayloadIDr:
		id, err := parseID(r)
		return &IDr{id}, err
	case PayloadCert:
		return parseCert(r)
	case PayloadCertReq:
		return parseCertReq(r)
	case PayloadAuth:
		return parseAuth(r)
	case PayloadNonce:
		return parseNonce(r)
	case PayloadNotify:
		return parseNotify(r)
	case PayloadDelete:
		return parseDelete(r)
	case PayloadVendorID:
		return &VendorID{Data: r.rest()}, nil
	case PayloadTSi:
		ts, err := parseSelectors(r)
		return &TSi{ts}, err
	case PayloadTSr:
		ts, err := parseSelectors(r)
		return &TSr{ts}, err
	case PayloadSK:
		return &SK{First: s.next, Body: r.b, Offset: s.start}, nil
	case PayloadSKF:
		return parseSKF(s, r)
	case PayloadCP:
		return parseCP(r)
	case PayloadEAP:
		return &EAP{Message: r.rest()}, nil
	}
	if s.critical {
		return nil, &UnsupportedCriticalPayload{Payload: s.kind, Offset: s.start - genericLen}
	}
	return &Unknown{Type: s.kind, Body: r.rest()}, nil
}

// appendChain appends payloads; last is the next payload field of the last one, unless that is protected.
func appendChain(b []byte, payloads []Payload, last PayloadType) ([]byte, error) {
	if len(payloads) > MaxPayloads {
		return nil, fmt.Errorf("append payloads: %d, at most %d", len(payloads), MaxPayloads)
	}
	var err error
	for i, p := range payloads {
		next := last
		if i+1 < len(payloads) {
			next = payloads[i+1].Kind()
			if protected(p.Kind()) {
				return nil, errProtectedInside
			}
		}
		if b, err = appendPayload(b, p, next); err != nil {
			return nil, fmt.Errorf("append %v payload: %w", p.Kind(), err)
		}
	}
	return b, nil
}

func appendPayload(b []byte, p Payload, next PayloadType) ([]byte, error) {
	var flags byte
	switch p := p.(type) {
	case *SK:
		next = p.First
	case *SKF:
		next = p.First
	case *Unknown:
		if p.Critical {
			flags = criticalBit
		}
	}
	start := len(b)
	b = append(b, byte(next), flags, 0, 0)
	b, err := p.appendBody(b)
	if err != nil {
		return nil, err
	}
	return b, putLength(b, start, start+2)
}

// putLength writes the length of b[start:] to b[at:].
func putLength(b []byte, start, at int) error {
	n := len(b) - start
	if n > math.MaxUint16 {
		return fmt.Errorf("%d octets do not fit a length of 16 bits", n)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(n))
	return nil
}

func (v *VendorID) appendBody(b []byte) ([]byte, error) { return append(b, v.Data...), nil }

func (e *EAP) appendBody(b []byte) ([]byte, error) { return append(b, e.Message...), nil }

func (u *Unknown) appendBody(b []byte) ([]byte, error) {
	if u.Type == NoNext || protected(u.Type) || u.Type >= PayloadSA && u.Type <= PayloadEAP {
		return nil, fmt.Errorf("%v is not an unknown payload", u.Type)
	}
	return append(b, u.Body...), nil
}
