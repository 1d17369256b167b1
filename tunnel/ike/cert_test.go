package ike

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// keyed is a Credentials with keys, and certificates that it does not look into.
type keyed struct {
	local, remote message.ID
	key           stdcrypto.Signer
	public        stdcrypto.PublicKey
	chain         [][]byte
	// What the peer sent.
	certs  int
	asked  []*message.CertReq
	hashes []crypto.HashID
	peer   message.ID
}

func (k *keyed) LocalID() message.ID { return k.local }
func (k *keyed) IsLocalID(id message.ID) bool {
	return strings.EqualFold(string(id.Data), string(k.local.Data))
}
func (k *keyed) RemoteID() (message.ID, bool) { return k.remote, true }

func (k *keyed) AcceptsID(id message.ID) error {
	if !id.Equal(k.remote) {
		return errors.New("another")
	}
	return nil
}

func (k *keyed) Requests() []*message.CertReq {
	return []*message.CertReq{{Encoding: message.CertX509Signature, Authority: bytes.Repeat([]byte{7}, 20)}}
}

func (k *keyed) Sign(p Proof) (*message.Auth, []*message.Cert, error) {
	k.asked, k.hashes, k.peer = p.PeerRequests, p.PeerHashes, p.Peer
	method, data, err := crypto.Sign(k.key, p.Octets, crypto.Signing{PeerHashes: p.PeerHashes})
	var certs []*message.Cert
	for _, c := range k.chain {
		certs = append(certs, &message.Cert{Encoding: message.CertX509Signature, Data: c})
	}
	return AuthPayload(method, data), certs, err
}

func (k *keyed) Verify(_ message.ID, auth *message.Auth, certs []*message.Cert, p Proof) error {
	k.certs = len(certs)
	method, data := AuthData(auth)
	return crypto.Verify(k.public, method, data, p.Octets, crypto.Verifying{})
}

// Signatures of each kind, with certificates that need fragments.
func TestSignatures(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range []stdcrypto.Signer{p256, rsaKey, ed} {
		t.Run(fmt.Sprintf("%T", key), func(t *testing.T) {
			p := newPair(t, 50)
			chain := [][]byte{bytes.Repeat([]byte{1}, 1500), bytes.Repeat([]byte{2}, 1500)}
			moon := &keyed{local: fqdn("moon"), remote: fqdn("sun"), key: key, public: p256.Public(), chain: chain}
			sun := &keyed{local: fqdn("sun"), remote: fqdn("moon"), key: p256, public: key.Public(), chain: chain}
			p.moonCfg.Credentials, p.sunCfg.Credentials = moon, sun
			fragmented := 0
			p.filter = func(k *packet) bool {
				if m, err := message.Parse(k.data); err == nil && message.Find[*message.SKF](m.Payloads) != nil {
					fragmented++
				}
				return true
			}
			p.up()
			if fragmented < 6 || moon.certs != 2 || sun.certs != 2 {
				t.Errorf("%d fragments, %d and %d certificates", fragmented, moon.certs, sun.certs)
			}
			if len(moon.asked) != 1 || len(sun.asked) != 1 || len(moon.hashes) != 4 || len(sun.hashes) != 4 {
				t.Errorf("moon was asked %v with %v, sun %v with %v", moon.asked, moon.hashes, sun.asked, sun.hashes)
			}
			if !sun.peer.Equal(fqdn("moon")) {
				t.Errorf("sun signed for %v", sun.peer)
			}
			if i > 0 {
				return
			}
			// The wrong key does not do.
			q := newPair(t, 51)
			q.moonCfg.KeyingTries = 1
			q.moonCfg.Credentials = &keyed{local: fqdn("moon"), remote: fqdn("sun"), key: rsaKey, public: p256.Public()}
			q.sunCfg.Credentials = sun
			q.add()
			q.moon.must(q.moon.Initiate(q.now, "sun", ""))
			q.run(time.Minute)
			q.agree(0)
			if !slices.ContainsFunc(q.moon.logs, func(l Log) bool { var r *RefusedError; return errors.As(l.Err, &r) }) {
				t.Error("moon was not refused")
			}
		})
	}
}
