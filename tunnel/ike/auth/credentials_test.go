package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func mustNew(t *testing.T, c Config) *Credentials {
	t.Helper()
	cr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return cr
}

// authenticate has one side prove itself to another, as the machine does it.
func authenticate(from, to *Credentials) error {
	id := from.LocalID()
	if err := to.AcceptsID(id); err != nil {
		return err
	}
	p := ike.Proof{PRF: crypto.PRFHMACSHA256, Octets: []byte("octets"), PeerHashes: crypto.SignatureHashes(), PeerRequests: to.Requests()}
	auth, certs, err := from.Sign(p)
	if err != nil {
		return err
	}
	return to.Verify(id, auth, certs, p)
}

func TestCredentials(t *testing.T) {
	w := newWorld(t)
	a := mustAuthorities(t, certsOf(w.root), certsOf(w.middle))
	clock := func() time.Time { return now }
	server := mustNew(t, Config{Local: Local{KeyPairs: []*KeyPair{{Certificate: w.moon.cert, Intermediates: certsOf(w.middle), Key: w.moon.key}}},
		Remote: Remote{ID: mustID(t, "*@example.org"), Authorities: a}, Now: clock})
	carol := mustNew(t, Config{Local: Local{ID: mustID(t, "carol@example.org"), KeyPairs: []*KeyPair{{Certificate: w.moon.cert, Key: w.moon.key}}},
		Remote: Remote{ID: mustID(t, "C=CH, O=example, CN=moon"), Authorities: a}, Now: clock})
	if err := errors.Join(authenticate(server, carol), authenticate(carol, server)); err != nil {
		t.Fatal(err)
	}
	if id, ok := carol.RemoteID(); !ok || id.Type != message.IDDERASN1DN {
		t.Errorf("the initiator asks for %v, %v", id, ok)
	}
	if id, ok := server.RemoteID(); ok {
		t.Errorf("one with a pattern asks for %v", id)
	}
	wantReason(t, authenticate(server, server), WrongIdentity, "CN=moon", "*@example.org")
	wantReason(t, server.AcceptsID(message.ID{Type: message.IDNull}), WrongIdentity, "*@example.org")

	// With an identity of our own we are that alone, however it is written; without, all that our certificate says.
	named := mustNew(t, Config{Local: Local{ID: mustID(t, "C=CH, O=example, CN=moon"), KeyPairs: server.local.KeyPairs}, Remote: server.remote, Now: clock})
	for text, want := range map[string][2]bool{"c=CH, O=Example, CN=MOON": {true, true}, "CN=moon": {}, "moon.example.org": {false, true}, "sun.example.org": {}} {
		id, err := mustID(t, text).Payload()
		if got := [2]bool{named.IsLocalID(id), server.IsLocalID(id)}; err != nil || got != want {
			t.Errorf("asked for %s: %v, %v", text, got, err)
		}
	}

	// The clock is asked each time.
	late := mustNew(t, Config{Local: server.local, Remote: server.remote, Now: func() time.Time { return now.Add(2 * time.Hour) }})
	wantReason(t, authenticate(carol, late), NotValid)
	for _, c := range []Config{{}, {Local: server.local}, {Remote: server.remote}} {
		if _, err := New(c); err == nil {
			t.Error("half a configuration is one")
		}
	}
}

// Each of many peers of a template has a secret of its own.
func TestCredentialsWithSecretsOfMany(t *testing.T) {
	server, carol, dave := mustID(t, "vpn.example.org"), mustID(t, "carol@example.org"), mustID(t, "dave@example.org")
	carols := SharedSecret{IDs: []Identity{carol}, Secret: Secret("carol's")}
	daves := SharedSecret{IDs: []Identity{dave}, Secret: Secret("dave's")}
	secrets := func(all ...SharedSecret) *Secrets {
		s, err := NewSecrets(all...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	both := secrets(carols, daves)
	here := mustNew(t, Config{Local: Local{ID: server, Secrets: both}, Remote: Remote{ID: mustID(t, "*@example.org"), Secrets: both}})
	own := secrets(SharedSecret{Secret: Secret("carol's")})
	there := mustNew(t, Config{Local: Local{ID: carol, Secrets: own}, Remote: Remote{ID: server, Secrets: own}})
	if err := authenticate(there, here); err != nil {
		t.Fatal(err)
	}
	p := ike.Proof{PRF: crypto.PRFHMACSHA256, Octets: []byte("octets")}
	if _, _, err := here.Sign(p); err == nil {
		t.Error("a secret was taken for an unknown peer")
	}
	p.Peer = there.LocalID()
	auth, _, err := here.Sign(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Verify(here.LocalID(), auth, nil, p); err != nil {
		t.Fatal(err)
	}
	// Dave cannot be Carol.
	asCarol := secrets(SharedSecret{Secret: Secret("dave's")})
	wantReason(t, authenticate(mustNew(t, Config{Local: Local{ID: carol, Secrets: asCarol}, Remote: Remote{ID: server, Secrets: asCarol}}), here), WrongSecret)
}
