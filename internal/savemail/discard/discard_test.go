package discard_test

import (
	"testing"

	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/test/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		return storetest.Harness{Store: discard.Store{}}
	})
}
