//go:build !amd64 && !arm64

package prefetch

// Ask would ask for all that is on the list.
func (*List) Ask() {}

// Ask would ask for the piece.
func (Piece) Ask() {}
