package crypto

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"errors"
	"fmt"
)

// ErrPublicValue is wrapped by what is said about a peer's key exchange data that must not be used (RFC 6989 section 2).
var ErrPublicValue = errors.New("unusable key exchange data")

// A Group is a key exchange method: Diffie-Hellman or a key encapsulation mechanism. Groups have no state.
type Group interface {
	// Begin makes the initiator's half of an exchange, with a key of its own.
	Begin() (Exchange, error)
	// Respond answers the initiator's data: reply is the data to send back, shared the secret of both. The error is an
	// ErrPublicValue if the data must not be used.
	Respond(peer []byte) (reply, shared []byte, err error)
}

// An Exchange is the initiator's half of a key exchange.
type Exchange interface {
	// Public is the data of the initiator's KE payload.
	Public() []byte
	// Finish gives the shared secret from the data of the responder's KE payload. The error is an ErrPublicValue if the data
	// must not be used; then another answer may be tried.
	Finish(peer []byte) (shared []byte, err error)
}

// Group returns the method, or an ErrUnsupported.
func (id GroupID) Group() (Group, error) {
	switch id {
	case MODP2048:
		return modp2048(), nil
	case MODP3072:
		return modp3072(), nil
	case MODP4096:
		return modp4096(), nil
	case ECP256:
		return curve{ecdh.P256(), []byte{uncompressed}}, nil
	case ECP384:
		return curve{ecdh.P384(), []byte{uncompressed}}, nil
	case ECP521:
		return curve{ecdh.P521(), []byte{uncompressed}}, nil
	case Curve25519:
		return curve{ecdh.X25519(), nil}, nil
	case MLKEM768:
		return mlkem768{}, nil
	}
	return nil, fmt.Errorf("key exchange method %d: %w", id, ErrUnsupported)
}

// PublicLen returns the length in bytes of the data that the initiator or the responder sends; 0 for a method that is not
// implemented.
func (id GroupID) PublicLen(initiator bool) int {
	switch id {
	case MODP2048:
		return 256
	case MODP3072:
		return 384
	case MODP4096:
		return 512
	case ECP256:
		return 64
	case ECP384:
		return 96
	case ECP521:
		return 132
	case Curve25519:
		return 32
	case MLKEM768:
		if initiator {
			return mlkem.EncapsulationKeySize768
		}
		return mlkem.CiphertextSize768
	}
	return 0
}

// uncompressed is the first byte of a point in SEC 1's form, which IKE leaves out (RFC 5903 section 7).
const uncompressed = 4

// A curve is Diffie-Hellman over a curve of crypto/ecdh, which makes the checks of RFC 6989 section 2.3: the point lies on
// the curve and is not the point at infinity, and the result of X25519 is not zero (RFC 8031 section 2.3).
type curve struct {
	ecdh.Curve
	prefix []byte // what SEC 1 has in front of IKE's data
}

type curveExchange struct {
	curve
	private *ecdh.PrivateKey
}

func (c curve) begin() (*curveExchange, error) {
	private, err := c.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key for %v: %w", c.Curve, err)
	}
	return &curveExchange{c, private}, nil
}

func (c curve) Begin() (Exchange, error) { return c.begin() }

func (c curve) Respond(peer []byte) (reply, shared []byte, err error) {
	own, err := c.begin()
	if err != nil {
		return nil, nil, err
	}
	if shared, err = own.Finish(peer); err != nil {
		return nil, nil, err
	}
	return own.Public(), shared, nil
}

func (x *curveExchange) Public() []byte {
	return x.private.PublicKey().Bytes()[len(x.prefix):]
}

func (x *curveExchange) Finish(peer []byte) ([]byte, error) {
	public, err := x.NewPublicKey(append(x.prefix[:len(x.prefix):len(x.prefix)], peer...))
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes for %v: %v", ErrPublicValue, len(peer), x.Curve, err)
	}
	shared, err := x.private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%w for %v: %v", ErrPublicValue, x.Curve, err)
	}
	return shared, nil
}

// mlkem768 is ML-KEM-768: the initiator sends an encapsulation key, the responder the ciphertext.
type mlkem768 struct{}

type mlkemExchange struct{ key *mlkem.DecapsulationKey768 }

func (mlkem768) Begin() (Exchange, error) {
	key, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, fmt.Errorf("making a key for ML-KEM-768: %w", err)
	}
	return &mlkemExchange{key}, nil
}

func (mlkem768) Respond(peer []byte) (reply, shared []byte, err error) {
	key, err := mlkem.NewEncapsulationKey768(peer)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %d bytes of encapsulation key for ML-KEM-768: %v", ErrPublicValue, len(peer), err)
	}
	shared, reply = key.Encapsulate()
	return reply, shared, nil
}

func (x *mlkemExchange) Public() []byte { return x.key.EncapsulationKey().Bytes() }

func (x *mlkemExchange) Finish(peer []byte) ([]byte, error) {
	shared, err := x.key.Decapsulate(peer)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes of ciphertext for ML-KEM-768: %v", ErrPublicValue, len(peer), err)
	}
	return shared, nil
}
