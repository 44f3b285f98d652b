package discard

import "goguerrillad/internal/savemail"

// Driver describes the store.
func Driver() savemail.Driver {
	return savemail.Driver{
		Name:        "discard",
		Discard:     true,
		Descriptors: func() int { return 0 },
		Open:        func(savemail.Setup) (savemail.Opened, error) { return savemail.Opened{Store: Store{}}, nil },
	}
}
