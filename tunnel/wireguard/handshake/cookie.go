package handshake

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	labelMAC1   = "mac1----"
	labelCookie = "cookie--"
)

type mac = [macSize]byte

// labelled is a key that anyone who knows the public key can derive (paper, section 5.4.4).
func labelled(label string, k PublicKey) [KeySize]byte {
	return blake2s.Sum256(append([]byte(label), k[:]...))
}

func newMAC(key []byte) hash.Hash {
	h, err := blake2s.New128(key)
	if err != nil {
		panic("handshake: BLAKE2s refuses a key of 16 or 32 octets: " + err.Error())
	}
	return h
}

func keyedMAC(key, b []byte) (m mac) {
	h := newMAC(key)
	h.Write(b)
	h.Sum(m[:0])
	return m
}

// A doorman checks the MACs of handshake messages that come in, and makes cookies for those who must prove their address.
// It may be used from any goroutine.
type doorman struct {
	mac1   sync.Pool // of *macer
	sealed [KeySize]byte

	mu     sync.Mutex
	secret [KeySize]byte
	made   time.Time // zero: there is no secret yet
}

type macer struct {
	hash.Hash
	sum mac
}

func newDoorman(own PublicKey) *doorman {
	key := labelled(labelMAC1, own)
	return &doorman{
		mac1:   sync.Pool{New: func() any { return &macer{Hash: newMAC(key[:])} }},
		sealed: labelled(labelCookie, own),
	}
}

// knocks says that mac1 of an initiation or a response is right: whoever sent it knows our public key. It does not allocate,
// so that a flood of garbage feeds no garbage collector.
func (d *doorman) knocks(b []byte) bool {
	m := d.mac1.Get().(*macer)
	defer d.mac1.Put(m)
	end := len(b) - 2*macSize
	m.Reset()
	m.Write(b[:end])
	m.Sum(m.sum[:0])
	return subtle.ConstantTimeCompare(m.sum[:], b[end:end+macSize]) == 1
}

// proves says that mac2 is right: whoever sent the message has a cookie of ours for its address. Who has none says so by zeros
// (paper, section 5.4.4).
func (d *doorman) proves(now time.Time, b []byte, from netip.AddrPort) bool {
	if mac(b[len(b)-macSize:]) == (mac{}) {
		return false
	}
	cookie, ok := d.cookie(now, from, false)
	if !ok {
		return false
	}
	end := len(b) - macSize
	m := keyedMAC(cookie[:], b[:end])
	return subtle.ConstantTimeCompare(m[:], b[end:]) == 1
}

// cookie is the cookie of an address. There is none where the secret has expired, unless it is to be renewed.
func (d *doorman) cookie(now time.Time, from netip.AddrPort, renew bool) (mac, bool) {
	d.mu.Lock()
	if d.made.IsZero() || now.Sub(d.made) >= CookieRefreshTime {
		if !renew {
			d.mu.Unlock()
			return mac{}, false
		}
		_, _ = rand.Read(d.secret[:])
		d.made = now
	}
	secret := d.secret
	d.mu.Unlock()
	address := from.Addr().Unmap().AsSlice()
	return keyedMAC(secret[:], binary.BigEndian.AppendUint16(address, from.Port())), true
}

// refuse is the cookie reply to an initiation or a response whose sender has the index sender.
func (d *doorman) refuse(now time.Time, b []byte, sender uint32, from netip.AddrPort) CookieReply {
	cookie, _ := d.cookie(now, from, true)
	reply := CookieReply{Receiver: sender}
	_, _ = rand.Read(reply.Nonce[:])
	end := len(b) - macSize
	mustX(d.sealed).Seal(reply.Cookie[:0], reply.Nonce[:], cookie[:], b[end-macSize:end])
	return reply
}

// A purse is the cookie that a peer gave us, and what is needed to accept one.
type purse struct {
	cookie mac
	got    time.Time // zero: there is no cookie
	last   mac       // mac1 of the message we sent last: a cookie reply is bound to it
	sent   bool
}

// sign writes mac1, and mac2 where there is a cookie, at the end of a message to the peer.
func (p *purse) sign(now time.Time, to PublicKey, b []byte) {
	key := labelled(labelMAC1, to)
	end := len(b) - 2*macSize
	p.last = keyedMAC(key[:], b[:end])
	p.sent = true
	copy(b[end:], p.last[:])
	if !p.got.IsZero() && now.Sub(p.got) < CookieRefreshTime {
		mac2 := keyedMAC(p.cookie[:], b[:end+macSize])
		copy(b[end+macSize:], mac2[:])
	}
}

// take keeps the cookie of a reply, if it answers the message that was sent last and has not been answered.
func (p *purse) take(now time.Time, from PublicKey, m *CookieReply) bool {
	if !p.sent {
		return false
	}
	var cookie mac
	if _, err := mustX(labelled(labelCookie, from)).Open(cookie[:0], m.Nonce[:], m.Cookie[:], p.last[:]); err != nil {
		return false
	}
	p.cookie, p.got, p.sent = cookie, now, false
	return true
}

func mustX(key [KeySize]byte) interface {
	Seal(dst, nonce, plaintext, additional []byte) []byte
	Open(dst, nonce, ciphertext, additional []byte) ([]byte, error)
} {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("handshake: XChaCha20-Poly1305 refuses a key of 32 octets: " + err.Error())
	}
	return aead
}
