package handshake

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.zx2c4.com/wireguard/tai64n"
)

// Type is the first octet of every message; the three after it are reserved and zero (paper, section 5.4).
type Type uint8

// The types of message.
const (
	TypeInitiation Type = 1 + iota
	TypeResponse
	TypeCookieReply
	TypeTransport
)

// String is the name in the paper.
func (t Type) String() string {
	switch t {
	case TypeInitiation:
		return "handshake initiation"
	case TypeResponse:
		return "handshake response"
	case TypeCookieReply:
		return "cookie reply"
	case TypeTransport:
		return "transport data"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Sizes in octets. All messages but transport data have one size only.
const (
	InitiationSize      = 148
	ResponseSize        = 92
	CookieReplySize     = 64
	TransportHeaderSize = 16
	// KeepaliveSize is the smallest transport message: a header and the tag of nothing.
	KeepaliveSize = TransportHeaderSize + tagSize

	macSize        = 16
	tagSize        = 16
	cookieSize     = 16
	noiseInitiate  = KeySize + (KeySize + tagSize) + (tai64n.TimestampSize + tagSize)
	noiseRespond   = KeySize + tagSize
	cookieSealed   = cookieSize + tagSize
	cookieNonce    = 24
	initiationMAC1 = InitiationSize - 2*macSize
	responseMAC1   = ResponseSize - 2*macSize
)

// ErrMessage says that a datagram is not the message that was wanted.
var ErrMessage = errors.New("not a WireGuard message of this type")

// TypeOf is the type of a datagram. ok says that the reserved octets are zero and that the size is one that the type can have.
func TypeOf(b []byte) (t Type, ok bool) {
	if len(b) < 4 || b[1]|b[2]|b[3] != 0 {
		return 0, false
	}
	switch t = Type(b[0]); t {
	case TypeInitiation:
		return t, len(b) == InitiationSize
	case TypeResponse:
		return t, len(b) == ResponseSize
	case TypeCookieReply:
		return t, len(b) == CookieReplySize
	case TypeTransport:
		return t, len(b) >= KeepaliveSize
	}
	return 0, false
}

// Initiation is the first message of a handshake (paper, section 5.4.2).
type Initiation struct {
	Sender uint32
	// Noise is the ephemeral public key, the sealed static public key and the sealed timestamp.
	Noise      [noiseInitiate]byte
	MAC1, MAC2 [macSize]byte
}

// ParseInitiation reads a handshake initiation.
func ParseInitiation(b []byte) (m Initiation, err error) {
	if err = want(b, TypeInitiation); err != nil {
		return m, err
	}
	m.Sender = binary.LittleEndian.Uint32(b[4:])
	copy(m.Noise[:], b[8:])
	copy(m.MAC1[:], b[initiationMAC1:])
	copy(m.MAC2[:], b[initiationMAC1+macSize:])
	return m, nil
}

// Append appends the message to b.
func (m *Initiation) Append(b []byte) []byte {
	b = header(b, TypeInitiation, m.Sender)
	b = append(b, m.Noise[:]...)
	b = append(b, m.MAC1[:]...)
	return append(b, m.MAC2[:]...)
}

// Response is the second message of a handshake (paper, section 5.4.3).
type Response struct {
	Sender, Receiver uint32
	// Noise is the ephemeral public key and the tag of nothing.
	Noise      [noiseRespond]byte
	MAC1, MAC2 [macSize]byte
}

// ParseResponse reads a handshake response.
func ParseResponse(b []byte) (m Response, err error) {
	if err = want(b, TypeResponse); err != nil {
		return m, err
	}
	m.Sender = binary.LittleEndian.Uint32(b[4:])
	m.Receiver = binary.LittleEndian.Uint32(b[8:])
	copy(m.Noise[:], b[12:])
	copy(m.MAC1[:], b[responseMAC1:])
	copy(m.MAC2[:], b[responseMAC1+macSize:])
	return m, nil
}

// Append appends the message to b.
func (m *Response) Append(b []byte) []byte {
	b = header(b, TypeResponse, m.Sender)
	b = binary.LittleEndian.AppendUint32(b, m.Receiver)
	b = append(b, m.Noise[:]...)
	b = append(b, m.MAC1[:]...)
	return append(b, m.MAC2[:]...)
}

// CookieReply is the answer of a device under load (paper, section 5.4.7).
type CookieReply struct {
	Receiver uint32
	Nonce    [cookieNonce]byte
	Cookie   [cookieSealed]byte
}

// ParseCookieReply reads a cookie reply.
func ParseCookieReply(b []byte) (m CookieReply, err error) {
	if err = want(b, TypeCookieReply); err != nil {
		return m, err
	}
	m.Receiver = binary.LittleEndian.Uint32(b[4:])
	copy(m.Nonce[:], b[8:])
	copy(m.Cookie[:], b[8+cookieNonce:])
	return m, nil
}

// Append appends the message to b.
func (m *CookieReply) Append(b []byte) []byte {
	b = header(b, TypeCookieReply, m.Receiver)
	b = append(b, m.Nonce[:]...)
	return append(b, m.Cookie[:]...)
}

// ParseTransport reads the header of a transport message: the receiver's index and the counter, which is the AEAD's nonce.
// What follows the header is sealed. ok says that b is a transport message.
func ParseTransport(b []byte) (receiver uint32, counter uint64, ok bool) {
	if len(b) < KeepaliveSize || binary.LittleEndian.Uint32(b) != uint32(TypeTransport) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:]), true
}

// PutTransport writes the header of a transport message into the first TransportHeaderSize octets of b.
func PutTransport(b []byte, receiver uint32, counter uint64) {
	_ = b[TransportHeaderSize-1]
	binary.LittleEndian.PutUint32(b, uint32(TypeTransport))
	binary.LittleEndian.PutUint32(b[4:], receiver)
	binary.LittleEndian.PutUint64(b[8:], counter)
}

func header(b []byte, t Type, index uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(b, byte(t), 0, 0, 0), index)
}

func want(b []byte, t Type) error {
	if got, ok := TypeOf(b); !ok || got != t {
		return fmt.Errorf("%w: %d octets that begin with % x are no %v", ErrMessage, len(b), b[:min(len(b), 4)], t)
	}
	return nil
}
