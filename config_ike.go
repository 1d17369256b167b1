package warren

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/auth"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// IKEEngineConfig is how key exchange behaves with all peers. Zero values mean the defaults.
type IKEEngineConfig struct {
	// RetransmitTimeout is when a request is sent again first, 2 s if zero; each time after that it takes RetransmitBase times as
	// long, 1.8 if zero, and 30 s at most. After RetransmitTries, 5 if zero, the peer is dead.
	RetransmitTimeout time.Duration
	RetransmitBase    float64
	RetransmitTries   int
}

// IKEConfig keys an ESP tunnel by IKEv2 (RFC 7296). Times that are zero mean never.
type IKEConfig struct {
	// LocalID and RemoteID are identities as strongSwan writes them: an address, a name, user@name, a distinguished name. Unless
	// set, ours is our address or our certificate's subject, and the peer's is any for which it has proof. RemoteID may be a pattern
	// with *.
	LocalID, RemoteID string
	// PSK is the shared secret, as text or in strongSwan's forms 0x and 0s.
	PSK Secret
	// Auth has certificates and keys in place of the secret, or for one of the sides.
	Auth AuthConfig
	// Proposals for the IKE SA in strongSwan's words; proposal.DefaultIKE if empty.
	Proposals string
	// RekeyTime less a random part of RandTime is when the IKE SA is rekeyed, RekeyTime+OverTime when it is given up.
	RekeyTime, OverTime, RandTime time.Duration
	// ReauthTime is when the peer is authenticated anew, by the side that brought the tunnel up. If it was not, the IKE SA ends
	// OverTime later, or 30 s later if that is more.
	ReauthTime time.Duration
	// DPDDelay is how long the peer may be silent before it is asked for a sign of life.
	DPDDelay time.Duration
	// KeyingTries is how often an initiation is tried; 0 for ever.
	KeyingTries int
	// NoFragmentation turns RFC 7383 off.
	NoFragmentation bool
	// Pool lends addresses to clients that ask for them: a name among Config.Pools.
	Pool string
	// Children are the child SAs. A parsed configuration has at least one.
	Children []IKEChildConfig
}

// AuthConfig are certificates and raw public keys. Files are PEM or DER.
type AuthConfig struct {
	// Cert is our certificate, Intermediates lead from it to the authority, Key is the private key of Cert or, without Cert, a
	// raw key that the peer knows (RFC 7670).
	Cert, Key     string
	Intermediates []string
	// CA are the authorities that the peer's certificate must lead to. With any CRL, a revocation list, each certificate below one of
	// them needs one.
	CA, CRL []string
	// RemoteCert are the only certificates that the peer may have, RemoteKey the raw public keys.
	RemoteCert, RemoteKey []string
	// SHA1 accepts signatures over SHA-1 of old peers.
	SHA1 bool
	// PSS signs with RSASSA-PSS where Key is an RSA key, in place of RSASSA-PKCS1-v1_5. What the peer signs with is its choice.
	PSS bool
}

// StartAction says how a child SA begins; the values may be joined.
type StartAction uint8

// StartNone waits for the peer, StartNow begins when the engine starts, StartTrap with the first packet, which is not lost.
const (
	StartNow StartAction = 1 << iota
	StartTrap
	StartNone StartAction = 0
)

// EndAction says what to do when a child SA ends without our doing.
type EndAction uint8

// The actions: nothing, wait for a packet, begin anew.
const (
	EndClear EndAction = iota
	EndTrap
	EndRestart
)

// IKEChildConfig is a child SA.
type IKEChildConfig struct {
	Name string
	ChildConfig
	// Proposals in strongSwan's words; proposal.DefaultESP if empty.
	Proposals   string
	StartAction StartAction
	// DPDAction is for a peer that is dead, CloseAction for one that deleted the child.
	DPDAction, CloseAction EndAction
	// RekeyTime less a random part of RandTime is when the child is rekeyed, LifeTime when it ends. Likewise in bytes and packets.
	RekeyTime, LifeTime, RandTime          time.Duration
	RekeyBytes, LifeBytes, RandBytes       uint64
	RekeyPackets, LifePackets, RandPackets uint64
	// KeepUp is how often a packet of our own keeps the child up; 0 for never.
	KeepUp time.Duration
}

// Defaults of IKEConfig.
const (
	DefaultIKERekeyTime   = 4 * time.Hour
	DefaultChildRekeyTime = time.Hour
	DefaultDPDDelay       = 30 * time.Second
)

// DefaultIKE is what a tunnel's keying is unless the configuration says otherwise.
func DefaultIKE() IKEConfig {
	return IKEConfig{RekeyTime: DefaultIKERekeyTime, OverTime: DefaultIKERekeyTime / 10, RandTime: DefaultIKERekeyTime / 10, DPDDelay: DefaultDPDDelay}
}

// DefaultIKEChild is what a child SA is unless the configuration says otherwise.
func DefaultIKEChild(name string) IKEChildConfig {
	return IKEChildConfig{Name: name, StartAction: StartTrap, DPDAction: EndTrap, RekeyTime: DefaultChildRekeyTime,
		LifeTime: DefaultChildRekeyTime * 11 / 10, RandTime: DefaultChildRekeyTime / 10}
}

// PoolConfig are addresses to be lent to clients.
type PoolConfig struct {
	Name string
	// Addresses are networks. Their own and broadcast addresses, and those of the vrf's port, are not lent.
	Addresses []netip.Prefix
	// DNS servers that clients are told of.
	DNS []netip.Addr
}

// any says whether any peer with the right identity is meant.
func (c *IPsecConfig) any() bool { return c.IKE != nil && c.RemoteAny }

// peer makes what package ike wants to know of a tunnel.
func (c *IPsecConfig) peer(name string, local netip.Addr) (p ike.PeerConfig, err error) {
	k := c.IKE
	p = ike.PeerConfig{Name: name, Local: local, Remote: c.Remote, RemotePort: c.RemotePort, Encap: ike.Encap(c.Encap), RekeyTime: k.RekeyTime, OverTime: k.OverTime,
		RandTime: orNone(k.RandTime), ReauthTime: k.ReauthTime, DPDDelay: k.DPDDelay, KeyingTries: k.KeyingTries, NoFragmentation: k.NoFragmentation}
	if p.Proposals, err = proposal.ParseIKE(orElse(k.Proposals, "default")); err != nil {
		return p, err
	}
	if p.Credentials, err = k.credentials(local); err != nil {
		return p, err
	}
	for i := range k.Children {
		child, err := k.Children[i].child()
		if err != nil {
			return p, err
		}
		p.Children = append(p.Children, child)
	}
	return p, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// orNone says none where that is meant: package ike has a default in place of zero.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (c *IKEChildConfig) child() (k ike.ChildConfig, err error) {
	k = ike.ChildConfig{Name: c.Name, Local: offered(c.LocalTS), Remote: offered(c.RemoteTS),
		Start: c.StartAction&StartNow != 0, Trap: c.StartAction&StartTrap != 0,
		DPDAction: ike.CloseAction(c.DPDAction), CloseAction: ike.CloseAction(c.CloseAction),
		Lifetime: ike.Lifetime{RekeyTime: c.RekeyTime, LifeTime: c.LifeTime, RandTime: orNone(c.RandTime),
			RekeyBytes: c.RekeyBytes, LifeBytes: c.LifeBytes, RandBytes: c.RandBytes,
			RekeyPackets: c.RekeyPackets, LifePackets: c.LifePackets, RandPackets: c.RandPackets}}
	k.Proposals, _, err = proposal.ParseESP(orElse(c.Proposals, "default"))
	return k, err
}

// offered are the traffic selectors of a child: everything of both families where there are none.
func offered(cfg []SelectorConfig) []message.TrafficSelector {
	if len(cfg) == 0 {
		return message.SelectorsOf(everything[:])
	}
	all := make([]message.TrafficSelector, len(cfg))
	for i, s := range cfg {
		all[i] = message.SelectorOf(s.Prefix)
		all[i].Protocol = s.Proto
		if s.FromPort != 0 || s.ToPort != 0 {
			all[i].StartPort, all[i].EndPort = s.FromPort, s.ToPort
		}
	}
	return all
}

// credentials reads the files and makes what authenticates both sides. local is our address, our identity where none is
// configured.
func (k *IKEConfig) credentials(local netip.Addr) (ike.Credentials, error) {
	var c auth.Config
	var err error
	if k.LocalID != "" {
		if c.Local.ID, err = auth.ParseIdentity(k.LocalID); err != nil {
			return nil, fmt.Errorf("local_id: %w", err)
		}
	} else if k.Auth.Cert == "" {
		c.Local.ID = auth.OfAddr(local)
	}
	if k.RemoteID != "" && k.RemoteID != "any" && k.RemoteID != "%any" {
		if c.Remote.ID, err = auth.ParseIdentity(k.RemoteID); err != nil {
			return nil, fmt.Errorf("remote_id: %w", err)
		}
	}
	if err := k.secrets(&c); err != nil {
		return nil, err
	}
	if err := k.Auth.keys(&c); err != nil {
		return nil, err
	}
	return auth.New(c)
}

// secrets uses the PSK for each side that has nothing else.
func (k *IKEConfig) secrets(c *auth.Config) error {
	if k.PSK == nil {
		return nil
	}
	secret, err := auth.ParseSecret(string(k.PSK))
	if err != nil {
		return err
	}
	all, err := auth.NewSecrets(auth.SharedSecret{Secret: secret})
	if err != nil {
		return err
	}
	if k.Auth.Cert == "" && k.Auth.Key == "" {
		c.Local.Secrets = all
	}
	if !k.Auth.verifies() {
		c.Remote.Secrets = all
	}
	return nil
}

// verifies says whether the peer has to prove itself with a key.
func (a *AuthConfig) verifies() bool { return len(a.CA)+len(a.RemoteCert)+len(a.RemoteKey) > 0 }

// keys reads certificates and keys.
func (a *AuthConfig) keys(c *auth.Config) error {
	switch {
	case a.Cert != "":
		pair, err := auth.LoadKeyPair(a.Cert, a.Key, a.Intermediates...)
		if err != nil {
			return err
		}
		c.Local.KeyPairs = []*auth.KeyPair{pair}
	case a.Key != "":
		key, err := auth.LoadPrivateKey(a.Key)
		if err != nil {
			return err
		}
		c.Local.Keys = append(c.Local.Keys, key)
	}
	var err error
	if len(a.CA) > 0 {
		if c.Remote.Authorities, err = auth.LoadAuthorities(a.CA, nil, a.CRL); err != nil {
			return err
		}
	}
	for _, file := range a.RemoteCert {
		certs, err := auth.LoadCertificates(file)
		if err != nil {
			return err
		}
		c.Remote.Certificates = append(c.Remote.Certificates, certs...)
	}
	for _, file := range a.RemoteKey {
		key, err := auth.LoadPublicKey(file)
		if err != nil {
			return err
		}
		c.Remote.Keys = append(c.Remote.Keys, key)
	}
	c.Remote.SHA1, c.Local.PSS = a.SHA1, a.PSS
	return nil
}

// remoteTS are all remote selectors that a tunnel's configuration names, localTS the local ones.
func (c *IPsecConfig) remoteTS() []SelectorConfig {
	return c.allTS(func(k *ChildConfig) []SelectorConfig { return k.RemoteTS })
}

func (c *IPsecConfig) localTS() []SelectorConfig {
	return c.allTS(func(k *ChildConfig) []SelectorConfig { return k.LocalTS })
}

func (c *IPsecConfig) allTS(of func(*ChildConfig) []SelectorConfig) []SelectorConfig {
	all := slices.Clone(of(&c.Child))
	if c.IKE != nil {
		for i := range c.IKE.Children {
			all = append(all, of(&c.IKE.Children[i].ChildConfig)...)
		}
	}
	return all
}

// isAny says whether a word stands for any peer.
func isAny(s string) bool { return strings.TrimPrefix(s, "%") == "any" }
