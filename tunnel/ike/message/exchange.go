package message

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The bodies of KE, Nonce, Notify and Delete.

// NonceMin and NonceMax are the lengths in octets that a nonce may have (RFC 7296 section 3.9).
const (
	NonceMin = 16
	NonceMax = 256
)

func parseKE(r *reader) (*KE, error) {
	if err := r.need(5, "key exchange data"); err != nil {
		return nil, err
	}
	k := &KE{Method: r.u16()}
	r.take(2)
	k.Data = r.rest()
	return k, nil
}

func (k *KE) appendBody(b []byte) ([]byte, error) {
	if len(k.Data) == 0 {
		return nil, fmt.Errorf("no key exchange data for %s", TransformName(TransformKE, k.Method))
	}
	b = binary.BigEndian.AppendUint16(b, k.Method)
	return append(append(b, 0, 0), k.Data...), nil
}

func parseNonce(r *reader) (*Nonce, error) {
	if n := len(r.b); n < NonceMin || n > NonceMax {
		return nil, r.bad("nonce", 0, octets(n), fmt.Sprintf("%d to %d", NonceMin, NonceMax))
	}
	return &Nonce{Data: r.rest()}, nil
}

func (n *Nonce) appendBody(b []byte) ([]byte, error) {
	if len(n.Data) < NonceMin || len(n.Data) > NonceMax {
		return nil, fmt.Errorf("nonce of %s, wanted %d to %d", octets(len(n.Data)), NonceMin, NonceMax)
	}
	return append(b, n.Data...), nil
}

// SPI32 returns the SPI of an AH or ESP SA.
func (n *Notify) SPI32() (spi uint32, ok bool) { return spi32(n.SPI) }

// Uint16s returns the data as numbers of 16 bits: the hash algorithms of SIGNATURE_HASH_ALGORITHMS, the one method of
// INVALID_KE_PAYLOAD.
func (n *Notify) Uint16s() (numbers []uint16, ok bool) {
	if len(n.Data)%2 != 0 {
		return nil, false
	}
	for b := n.Data; len(b) != 0; b = b[2:] {
		numbers = append(numbers, binary.BigEndian.Uint16(b))
	}
	return numbers, true
}

// NotifyUint16s returns a notification whose data are numbers of 16 bits.
func NotifyUint16s(t NotifyType, numbers ...uint16) *Notify {
	n := &Notify{Type: t}
	for _, v := range numbers {
		n.Data = binary.BigEndian.AppendUint16(n.Data, v)
	}
	return n
}

// NotifySPI returns a notification about an AH or ESP SA, as REKEY_SA and CHILD_SA_NOT_FOUND are.
func NotifySPI(t NotifyType, p ProtocolID, spi uint32) *Notify {
	return &Notify{Type: t, Protocol: p, SPI: binary.BigEndian.AppendUint32(nil, spi)}
}

// String is the notification in a few words, without its data.
func (n *Notify) String() string {
	if len(n.SPI) == 0 {
		return n.Type.String()
	}
	return fmt.Sprintf("%v of %v %x", n.Type, n.Protocol, n.SPI)
}

func parseNotify(r *reader) (*Notify, error) {
	if err := r.need(4, "notification"); err != nil {
		return nil, err
	}
	n := &Notify{Protocol: ProtocolID(r.u8())}
	spi := int(r.u8())
	n.Type = NotifyType(r.u16())
	if wanted := notifySPI(n.Protocol, spi); wanted != "" {
		return nil, r.bad(n.Protocol.String()+" SPI size", 3, octets(spi), wanted)
	}
	if err := r.need(spi, "SPI"); err != nil {
		return nil, err
	}
	n.SPI = r.bytes(spi)
	if spi == 0 {
		n.Protocol = ProtocolNone // "MUST be ignored on receipt"
	}
	n.Data = r.rest()
	return n, nil
}

func notifySPI(p ProtocolID, n int) (wanted string) {
	if (p == ProtocolAH || p == ProtocolESP) && n != 0 && n != 4 {
		return "0 or 4 octets"
	}
	return ""
}

func (n *Notify) appendBody(b []byte) ([]byte, error) {
	if wanted := notifySPI(n.Protocol, len(n.SPI)); wanted != "" {
		return nil, fmt.Errorf("%v SPI of %s, wanted %s", n.Protocol, octets(len(n.SPI)), wanted)
	}
	if len(n.SPI) > math.MaxUint8 {
		return nil, fmt.Errorf("SPI of %d octets, at most %d", len(n.SPI), math.MaxUint8)
	}
	protocol := n.Protocol
	if len(n.SPI) == 0 {
		protocol = ProtocolNone
	}
	b = append(b, byte(protocol), byte(len(n.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(n.Type))
	return append(append(b, n.SPI...), n.Data...), nil
}

func parseDelete(r *reader) (*Delete, error) {
	if err := r.need(4, "deletion"); err != nil {
		return nil, err
	}
	d := &Delete{Protocol: ProtocolID(r.u8())}
	size, count := int(r.u8()), int(r.u16())
	want := 4
	switch d.Protocol {
	case ProtocolIKE:
		want = 0
		if count != 0 {
			return nil, r.bad("number of SPIs", 2, count, "0 for IKE")
		}
	case ProtocolAH, ProtocolESP:
	default:
		return nil, r.bad("protocol", 4, d.Protocol, "IKE, AH or ESP")
	}
	if size != want {
		return nil, r.bad(d.Protocol.String()+" SPI size", 3, octets(size), octets(want))
	}
	if len(r.b) != size*count {
		return nil, r.bad("SPIs", 0, octets(len(r.b)), octets(size*count))
	}
	for range count {
		d.SPIs = append(d.SPIs, binary.BigEndian.Uint32(r.take(4)))
	}
	return d, nil
}

func (d *Delete) appendBody(b []byte) ([]byte, error) {
	size := byte(4)
	switch {
	case d.Protocol == ProtocolIKE && len(d.SPIs) == 0:
		size = 0
	case d.Protocol != ProtocolAH && d.Protocol != ProtocolESP || len(d.SPIs) > math.MaxUint16:
		return nil, fmt.Errorf("%d SPIs of %v cannot be deleted", len(d.SPIs), d.Protocol)
	}
	b = append(b, byte(d.Protocol), size)
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.SPIs)))
	for _, spi := range d.SPIs {
		b = binary.BigEndian.AppendUint32(b, spi)
	}
	return b, nil
}
