package crypto

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"

	"filippo.io/bigmod"
)

// A modp is Diffie-Hellman modulo a safe prime with the generator 2 (RFC 3526), in constant time.
type modp struct {
	name     string
	modulus  *bigmod.Modulus
	base     *bigmod.Nat // the generator
	exponent int         // length of a private exponent in bytes
}

// Private exponents are as long as the larger of the two estimates in RFC 3526 section 8, in bytes.
var (
	modp2048 = sync.OnceValue(func() *modp { return newMODP("modp2048", prime2048, 320/8) })
	modp3072 = sync.OnceValue(func() *modp { return newMODP("modp3072", prime3072, 424/8) })
	modp4096 = sync.OnceValue(func() *modp { return newMODP("modp4096", prime4096, 480/8) })
)

// newMODP panics if the constants are wrong, which no input can bring about.
func newMODP(name, prime string, exponent int) *modp {
	b, err := hex.DecodeString(prime)
	if err != nil {
		panic(err)
	}
	m, err := bigmod.NewModulus(b)
	if err != nil {
		panic(err)
	}
	two := make([]byte, m.Size())
	two[len(two)-1] = 2
	base, err := bigmod.NewNat().SetBytes(two, m)
	if err != nil {
		panic(err)
	}
	return &modp{name, m, base, exponent}
}

type modpExchange struct {
	*modp
	private, public []byte
}

func (g *modp) begin() *modpExchange {
	private := make([]byte, g.exponent)
	_, _ = rand.Read(private) // does not fail: it ends the program instead
	return g.beginWith(private)
}

func (g *modp) beginWith(private []byte) *modpExchange {
	return &modpExchange{g, private, bigmod.NewNat().Exp(g.base, private, g.modulus).Bytes(g.modulus)}
}

func (g *modp) Begin() (Exchange, error) { return g.begin(), nil }

func (g *modp) Respond(peer []byte) (reply, shared []byte, err error) {
	y, err := g.check(peer)
	if err != nil {
		return nil, nil, err
	}
	own := g.begin()
	return own.public, own.power(y), nil
}

func (x *modpExchange) Public() []byte { return x.public }

func (x *modpExchange) Finish(peer []byte) ([]byte, error) {
	y, err := x.check(peer)
	if err != nil {
		return nil, err
	}
	return x.power(y), nil
}

// power is the shared secret, as long as the modulus (RFC 7296 section 2.14).
func (x *modpExchange) power(y *bigmod.Nat) []byte {
	return bigmod.NewNat().Exp(y, x.private, x.modulus).Bytes(x.modulus)
}

// check reads a public value r with 1 < r < p-1, which suffices for a safe prime (RFC 6989 section 2.1), exactly as long as
// the modulus (RFC 7296 section 3.4).
func (g *modp) check(peer []byte) (*bigmod.Nat, error) {
	if len(peer) != g.modulus.Size() {
		return nil, fmt.Errorf("%w: %d bytes for %s, which has %d", ErrPublicValue, len(peer), g.name, g.modulus.Size())
	}
	y, err := bigmod.NewNat().SetBytes(peer, g.modulus)
	if err != nil {
		return nil, fmt.Errorf("%w: the value for %s is not below the modulus", ErrPublicValue, g.name)
	}
	if y.IsZero()|y.IsOne()|y.IsMinusOne(g.modulus) == 1 {
		return nil, fmt.Errorf("%w: the value for %s is 0, 1 or p-1", ErrPublicValue, g.name)
	}
	return y, nil
}
