package ike

import (
	"errors"
	"fmt"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Protected messages: sealing and opening them, in fragments where they are large (RFC 7383).

// Overheads in bytes of a message's packet.
const (
	ipv4UDP    = 20 + 8
	ipv6UDP    = 40 + 8
	nonESP     = 4
	skfOverSK  = 4
	skOverhead = message.HeaderLen + 4
)

// Bounds on a message that is reassembled: RFC 7383 section 2.6 wants them.
const (
	maxFragments   = 128
	maxReassembled = 1 << 16
)

func (sa *ikeSA) header(exchange message.ExchangeType, id uint32, response bool) message.Header {
	h := message.Header{SPIi: sa.spi.Initiator, SPIr: sa.spi.Responder, Exchange: exchange, MessageID: id}
	if sa.initiator {
		h.Flags |= message.FlagInitiator
	}
	if response {
		h.Flags |= message.FlagResponse
	}
	return h
}

// protect returns the datagrams of a message.
func (sa *ikeSA) protect(exchange message.ExchangeType, id uint32, response bool, payloads []message.Payload) ([][]byte, error) {
	content, err := message.AppendPayloads(nil, payloads)
	if err != nil {
		return nil, fmt.Errorf("protecting an %v message: %w", exchange, err)
	}
	h, first, sealer := sa.header(exchange, id, response), message.FirstKind(payloads), sa.sec.sealer
	if exchange == message.IKEIntermediate && sa.hs != nil {
		if err := sa.hs.authenticate(sa, h, first, content, sa.initiator); err != nil {
			return nil, err
		}
	}
	room := sa.room()
	if body := sealer.BodyLen(len(content)); !sa.fragmenting() || skOverhead+body <= room {
		start, err := message.AppendSK(nil, h, nil, first, body)
		if err != nil {
			return nil, err
		}
		sealed, err := sealer.Seal(start, content)
		return [][]byte{sealed}, err
	}
	return sa.fragment(h, first, content, sealer.MaxContent(room-skOverhead-skfOverSK))
}

func (sa *ikeSA) fragmenting() bool {
	return sa.can.fragments && (sa.peer == nil || !sa.peer.cfg.NoFragmentation)
}

// room is how long a message may be before it is fragmented.
func (sa *ikeSA) room() int {
	room := sa.e.cfg.FragmentSize - ipv6UDP
	if sa.path.Remote.Addr().Is4() {
		room = sa.e.cfg.FragmentSize - ipv4UDP
	}
	if sa.path.NATT {
		room -= nonESP
	}
	return room
}

// fragment seals content in pieces of at most size (RFC 7383 section 2.5).
func (sa *ikeSA) fragment(h message.Header, first message.PayloadType, content []byte, size int) ([][]byte, error) {
	total := (len(content) + size - 1) / size
	if total > maxFragments {
		return nil, fmt.Errorf("protecting an %v message: %d bytes need %d fragments, at most %d", h.Exchange, len(content), total, maxFragments)
	}
	var datagrams [][]byte
	for number := 1; len(content) > 0; number++ {
		piece := content[:min(size, len(content))]
		content = content[len(piece):]
		start, err := message.AppendSKF(nil, h, nil, first, uint16(number), uint16(total), sa.sec.sealer.BodyLen(len(piece)))
		if err != nil {
			return nil, err
		}
		sealed, err := sa.sec.sealer.Seal(start, piece)
		if err != nil {
			return nil, err
		}
		datagrams = append(datagrams, sealed)
	}
	return datagrams, nil
}

// fragments is a message that is reassembled. Everything in it was opened with the IKE SA's key.
type fragments struct {
	pieces [][]byte
	have   int
	size   int
	first  message.PayloadType
}

// errIncomplete says that more fragments are to come.
var errIncomplete = errors.New("more fragments are to come")

// open returns the content of a protected message, which may be complete by this datagram only. Until authentic is true
// nothing may be concluded from the datagram.
func (sa *ikeSA) open(f *fragments, m *message.Message, datagram []byte) (first message.PayloadType, content []byte, authentic bool, err error) {
	if len(m.Payloads) == 0 {
		return 0, nil, false, errUnprotected
	}
	switch p := m.Payloads[len(m.Payloads)-1].(type) {
	case *message.SK:
		content, err = sa.sec.opener.Open(datagram, p.Offset)
		return p.First, content, err == nil, err
	case *message.SKF:
		if !sa.fragmenting() || p.Total > maxFragments {
			return 0, nil, false, fmt.Errorf("fragment %d of %d was not asked for", p.Number, p.Total)
		}
		piece, err := sa.sec.opener.Open(datagram, p.Offset)
		if err != nil {
			return 0, nil, false, err
		}
		first, content, err = f.add(p, piece)
		return first, content, true, err
	}
	return 0, nil, false, errUnprotected
}

var errUnprotected = errors.New("the message is not protected")

// add takes a fragment in and returns the whole when it is there (RFC 7383 section 2.6).
func (f *fragments) add(p *message.SKF, piece []byte) (message.PayloadType, []byte, error) {
	switch {
	case int(p.Total) > len(f.pieces):
		*f = fragments{pieces: make([][]byte, p.Total)} // the sender made them smaller: it begins anew
	case int(p.Total) < len(f.pieces):
		return 0, nil, errIncomplete
	}
	if f.pieces[p.Number-1] == nil && f.size+len(piece) <= maxReassembled {
		f.pieces[p.Number-1] = append([]byte{}, piece...)
		f.have++
		f.size += len(piece)
	}
	if p.Number == 1 {
		f.first = p.First
	}
	if f.have < len(f.pieces) {
		return 0, nil, errIncomplete
	}
	var whole []byte
	for _, piece := range f.pieces {
		whole = append(whole, piece...)
	}
	return f.first, whole, nil
}
