"""Who presses the buttons: the protocol, a network, a switching policy of several."""
