// Package layout holds the rules of who may import whom. They are a test, so
// that a room can only grow a new edge in the open.
package layout
