"""Who gives the right button: today a program, in a process of its own."""
