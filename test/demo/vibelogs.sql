-- An app's table as it was before vibevideo, with an ordinary week in it.
CREATE TABLE vibelogs (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	written_on date NOT NULL,
	author text NOT NULL,
	content text NOT NULL
);
INSERT INTO vibelogs (written_on, author, content) VALUES
	('2026-11-16', 'Ana', 'Rain on the tram window all the way to work. Somebody had drawn a smiling cat in the steam, and it stayed until my stop.'),
	('2026-11-17', 'Ana', 'Grandma taught me her plum dumplings over the phone. The kitchen is white with flour and I have never been prouder of anything so lopsided.'),
	('2026-11-18', 'Ben', 'Swam in the lake before sunrise. Fog on the water, one heron, and nobody to tell that I was afraid of the deep end.'),
	('2026-11-19', 'Ana', 'The lights went out in the whole street, so we carried our chairs outside. Mr Okafor played the trumpet and the children chased fireflies.'),
	('2026-11-20', 'Ben', 'Found the ticket of our first concert in an old coat. Sat on the stairs for a while, with the coat on, humming.'),
	('2026-11-21', 'Ben', 'Dreamt of a knife fight in the museum, between two statues. Woke up hungry.'),
	('2026-11-22', 'Ana', 'Breakfast for nine, six chairs. The dog got the last pancake.');
