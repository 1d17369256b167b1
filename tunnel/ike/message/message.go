package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderLen is the length of the IKE header in octets.
const HeaderLen = 28

const majorVersion = 2

// A Header is the IKE header (RFC 7296 section 3.1). The version is not in it: it is 2.0 on send, and 2 with any minor
// version on receipt.
type Header struct {
	SPIi, SPIr uint64
	Exchange   ExchangeType
	Flags      Flags
	MessageID  uint32
}

// Response says whether the message answers one with the same message ID.
func (h Header) Response() bool { return h.Flags&FlagResponse != 0 }

// FromInitiator says whether the sender is the original initiator of the IKE SA.
func (h Header) FromInitiator() bool { return h.Flags&FlagInitiator != 0 }

// String is the header in one line, for logs.
func (h Header) String() string {
	kind := "request"
	if h.Response() {
		kind = "response"
	}
	return fmt.Sprintf("%v %s %d of %016x_i %016x_r", h.Exchange, kind, h.MessageID, h.SPIi, h.SPIr)
}

// A Message is a message in the clear, or the clear part of a protected one, with an *SK or *SKF as last payload.
type Message struct {
	Header
	Payloads []Payload
}

// ParseHeader parses the header of a message without looking at what follows, so that a message that is not understood can
// be answered. With a VersionError the header is as it would be for IKEv2.
func ParseHeader(b []byte) (Header, error) {
	h, _, err := parseHeader(b)
	return h, err
}

func parseHeader(b []byte) (Header, PayloadType, error) {
	r := reader{b: b}
	if err := r.need(HeaderLen, "length"); err != nil {
		return Header{}, NoNext, err
	}
	h := Header{
		SPIi:      binary.BigEndian.Uint64(b),
		SPIr:      binary.BigEndian.Uint64(b[8:]),
		Exchange:  ExchangeType(b[18]),
		Flags:     Flags(b[19]) & allFlags,
		MessageID: binary.BigEndian.Uint32(b[20:]),
	}
	if major := b[17] >> 4; major != majorVersion {
		return h, NoNext, &VersionError{Major: major, Minor: b[17] & 0xf}
	}
	if h.SPIi == 0 {
		return h, NoNext, r.bad("initiator's SPI", 0, 0, "any other")
	}
	return h, PayloadType(b[16]), nil
}

// Parse parses a message up to its end or its SK or SKF payload. Only SK.Body and SKF.Body alias b. The errors are
// *SyntaxError, *VersionError and *UnsupportedCriticalPayload: see Answer.
func Parse(b []byte) (*Message, error) {
	h, first, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	if n := binary.BigEndian.Uint32(b[24:]); uint64(n) != uint64(len(b)) {
		return nil, &SyntaxError{Offset: 24, Field: "length", Offered: fmt.Sprint(n), Wanted: fmt.Sprint(len(b))}
	}
	spans, err := walk(first, b, HeaderLen)
	if err != nil {
		return nil, err
	}
	m := &Message{Header: h}
	m.Payloads, err = parseSpans(spans, b)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// ParsePayloads parses the inside of an SK payload, or of reassembled SKF payloads: first is the type of its first payload,
// b is what was decrypted without padding and pad length. Nothing aliases b.
func ParsePayloads(first PayloadType, b []byte) ([]Payload, error) {
	spans, err := walk(first, b, 0)
	if err != nil {
		return nil, err
	}
	if n := len(spans); n != 0 && protected(spans[n-1].kind) {
		s := spans[n-1]
		return nil, &SyntaxError{Payload: s.kind, Offset: s.start, Field: "payload", Offered: "encrypted twice", Wanted: "once"}
	}
	return parseSpans(spans, b)
}

// Append appends the message. An *SK or *SKF may only be the last payload and is taken as it is, its Offset ignored.
func (m *Message) Append(b []byte) ([]byte, error) {
	start := len(b)
	b, err := appendHeader(b, m.Header, FirstKind(m.Payloads))
	if err != nil {
		return nil, err
	}
	if b, err = appendChain(b, m.Payloads, NoNext); err != nil {
		return nil, err
	}
	setLength(b[start:], 0)
	return b, nil
}

// AppendPayloads appends a chain of payloads as it stands inside an SK payload. Its first payload's type is FirstKind's.
func AppendPayloads(b []byte, payloads []Payload) ([]byte, error) {
	for _, p := range payloads {
		if protected(p.Kind()) {
			return nil, errProtectedInside
		}
	}
	return appendChain(b, payloads, NoNext)
}

// FirstKind returns the type of the first of the payloads, NoNext if there is none.
func FirstKind(payloads []Payload) PayloadType {
	if len(payloads) == 0 {
		return NoNext
	}
	return payloads[0].Kind()
}

var (
	errProtectedInside = errors.New("append payloads: an encrypted payload inside another, or not the last")
	errNoSPI           = errors.New("append IKE header: the initiator's SPI is zero")
)

// appendHeader appends the header with a length of zero: see setLength.
func appendHeader(b []byte, h Header, first PayloadType) ([]byte, error) {
	if h.SPIi == 0 {
		return nil, errNoSPI
	}
	b = binary.BigEndian.AppendUint64(b, h.SPIi)
	b = binary.BigEndian.AppendUint64(b, h.SPIr)
	b = append(b, byte(first), majorVersion<<4, byte(h.Exchange), byte(h.Flags&allFlags))
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return append(b, 0, 0, 0, 0), nil
}

// setLength completes the header of a message to which more octets will be appended.
func setLength(message []byte, more int) {
	binary.BigEndian.PutUint32(message[24:], uint32(len(message)+more))
}

// Find returns the first payload of a type, as in Find[*KE](m.Payloads), or nil.
func Find[P Payload](payloads []Payload) P {
	for _, p := range payloads {
		if found, ok := p.(P); ok {
			return found
		}
	}
	var none P
	return none
}

// FindAll returns all payloads of a type, in order.
func FindAll[P Payload](payloads []Payload) []P {
	var all []P
	for _, p := range payloads {
		if found, ok := p.(P); ok {
			all = append(all, found)
		}
	}
	return all
}

// FindNotify returns the first notification of a type, or nil.
func FindNotify(payloads []Payload, t NotifyType) *Notify {
	for _, p := range payloads {
		if n, ok := p.(*Notify); ok && n.Type == t {
			return n
		}
	}
	return nil
}

// FindNotifies returns all notifications of a type, in order.
func FindNotifies(payloads []Payload, t NotifyType) []*Notify {
	var all []*Notify
	for _, n := range FindAll[*Notify](payloads) {
		if n.Type == t {
			all = append(all, n)
		}
	}
	return all
}

// FindError returns the first notification that reports an error, or nil.
func FindError(payloads []Payload) *Notify {
	for _, n := range FindAll[*Notify](payloads) {
		if n.Type.Error() {
			return n
		}
	}
	return nil
}
