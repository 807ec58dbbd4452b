raise ImportError("libcrack.so.3 is missing")
