-- One remembered way, of whichever network it was on: the memory of networks has taken its place.
DELETE FROM setting WHERE name = 'way';
