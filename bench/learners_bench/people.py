"""The names that the invented population bears, by heritage. Frequencies of given names are those of the births."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

# Share of households. What the groups are called is said in docs/matching.md.
SHARES = {
    "general": 0.80,
    "muslim": 0.08,
    "indian": 0.04,
    "east_european": 0.035,
    "african": 0.03,
    "east_asian": 0.015,
}
# Dates of birth that were written as 1 January because nobody knew them.
FIRST_OF_JANUARY = {
    "general": 0.0005,
    "muslim": 0.025,
    "indian": 0.004,
    "east_european": 0.001,
    "african": 0.02,
    "east_asian": 0.003,
}
FAMILY = {
    "muslim": (
        "Khan:9 Ahmed:7 Hussain:8 Ali:8 Begum:5 Akhtar:3 Malik:3 Mahmood:2 Iqbal:2 Shah:3 Rahman:3 "
        "Islam:2 Miah:2 Uddin:2 "
        "Choudhury:1 Chowdhury:1 Mirza:1 Butt:1 Sheikh:1 Qureshi:1 Rashid:1 Saleem:1 Aziz:1 Hassan:2 "
        "Hussein:1 Mohamed:2 Abdi:2 "
        "Omar:1 Yusuf:1 Ibrahim:1 Rehman:1 Raza:1 Zaman:1 Nawaz:1 Bashir:1 Javed:1 Kauser:1 Bibi:2 "
        "Siddiqui:1 Ansari:1 Farooq:1"
    ),
    "indian": (
        "Patel:12 Singh:9 Kaur:0 Sharma:3 Shah:3 Kumar:2 Gupta:1 Desai:1 Mistry:1 Joshi:1 Mehta:1 "
        "Parmar:1 Chauhan:1 Reddy:1 Nair:1 "
        "Iyer:1 Rao:1 Das:1 Verma:1 Gill:2 Sandhu:1 Dhillon:1 Grewal:1 Sidhu:1 Bains:1 Solanki:1 "
        "Thakur:1 Menon:1"
    ),
    "east_european": (
        "Nowak:4 Kowalski:3 Wisniewski:3 Wojcik:2 Kowalczyk:2 Kaminski:2 Lewandowski:2 Zielinski:2 "
        "Szymanski:2 Wozniak:1 Dabrowski:2 "
        "Kozlowski:1 Jankowski:1 Mazur:1 Krawczyk:1 Popescu:3 Ionescu:2 Popa:2 Radu:1 Dumitru:1 "
        "Ivanov:2 Dimitrov:1 Petrov:1 Georgiev:1 "
        "Novak:1 Novotny:1 Horvath:1 Kovacs:1 Nagy:1 Kazlauskas:1 Petrauskas:1 Jankauskas:1 Balogh:1 "
        "Stoica:1 Stan:1 Rusu:1"
    ),
    "african": (
        "Okafor:2 Adeyemi:2 Okonkwo:1 Mensah:3 Boateng:2 Owusu:2 Asante:1 Osei:1 Adebayo:2 Ojo:1 "
        "Ogunleye:1 Balogun:1 Eze:2 Nwosu:1 "
        "Appiah:1 Addo:1 Amoah:1 Ndlovu:1 Moyo:2 Dube:1 Ncube:1 Sibanda:1 Kamara:2 Conteh:1 Bangura:1 "
        "Sesay:1 Diallo:1 Traore:1 Abebe:1 "
        "Tesfaye:1 Williams:3 Johnson:3 Smith:2 James:2"
    ),
    "east_asian": (
        "Chen:4 Wang:4 Li:4 Zhang:4 Liu:3 Wong:4 Chan:4 Lee:3 Cheung:2 Lam:2 Ng:2 Nguyen:6 Tran:3 "
        "Le:2 Pham:2 Kim:2 Park:1 Huang:2 Lin:2 Wu:2"
    ),
}
GIVEN = {
    "muslim": {
        "1": (
            "Mohammed Muhammad Mohammad Mohamed Ibrahim Yusuf Ali Hamza Ahmed Adam Hassan Hussain "
            "Ismail Zain Abdullah Omar Bilal Yahya "
            "Mustafa Zakariya Musa Haris Idris Isa Khalid Umar Usman Imran Amir Hamid Tariq Rayyan "
            "Ayaan Zayn Sami Adil Faisal Haroon"
        ),
        "2": (
            "Aisha Fatima Maryam Zainab Khadija Amina Hafsa Safa Zahra Sumayyah Aaliyah Ayesha Inaya "
            "Hana Layla Noor Sana Iqra Sara Halima "
            "Mariam Ruqayyah Asma Zara Anisa Hafsah Yasmin Alisha Aleena Hira Maya Nadia Salma Sadia "
            "Samira Iman"
        ),
    },
    "indian": {
        "1": (
            "Arjun Aryan Rohan Dhruv Krish Dev Karan Vivek Jay Harpreet Gurpreet Manpreet Simran Arun "
            "Amar Ravi Nikhil Rahul Sahil Veer "
            "Yuvraj Ishaan Akash Jeevan Kiran Harman Ranveer Aarav Om Shiv Vishal Amit Anil"
        ),
        "2": (
            "Simran Jasmine Priya Anjali Diya Maya Anya Riya Ananya Isha Jaspreet Harpreet Manpreet "
            "Kiran Neha Pooja Meera Nisha Avani Tara "
            "Aaliyah Gurpreet Jasleen Amrit Kavita Sonia Divya Shreya Aarti Anika Roshni Krisha"
        ),
    },
    "east_european": {
        "1": (
            "Jakub Kacper Szymon Filip Jan Antoni Mateusz Michal Wiktor Adam Aleksander Oskar Dawid "
            "Daniel Piotr Lukasz Tomasz Maciej "
            "Bartosz Dominik Andrei Alexandru David Stefan Matei Luca Georgi Nikola Martin Ivan Lukas "
            "Matas Nojus Milan Marek Patryk"
        ),
        "2": (
            "Julia Maja Zuzanna Lena Wiktoria Amelia Oliwia Aleksandra Natalia Emilia Hanna Maria "
            "Anna Alicja Nikola Zofia Martyna Karolina "
            "Gabriela Sofia Alexandra Ioana Elena Andreea Daria Gabija Ugne Viktoria Emma Petra "
            "Magdalena Katarzyna Weronika"
        ),
    },
    "african": {
        "1": (
            "David Daniel Emmanuel Samuel Joshua Michael Elijah Joseph Nathan Caleb Jeremiah Isaac "
            "Gabriel Ayomide Oluwaseun Tobi Kofi Kwame "
            "Kwabena Chidera Chukwuemeka Ebuka Tendai Tinashe Abdul Ibrahim Mohamed Ezra Micah Josiah "
            "Malachi Praise Tunde Segun"
        ),
        "2": (
            "Blessing Grace Esther Deborah Favour Precious Princess Abigail Hannah Sarah Elizabeth "
            "Ruth Chloe Ama Abena Akua Adaeze Chioma "
            "Temitope Oluwaseun Ayomide Tiffany Michelle Faith Hope Joy Gift Miracle Peace Naomi "
            "Rachel Rebecca Ifeoma Tanaka"
        ),
    },
    "east_asian": {
        "1": (
            "Jason Kevin Ryan Daniel Eric Andy Tony Wei Jun Ming Hao Lucas Ethan Jayden Nathan Anthony "
            "Vincent Henry Leo Kai Minh Duc Alan"
        ),
        "2": (
            "Jessica Emily Michelle Tiffany Cindy Amy Mei Ling Xin Yan Jasmine Vivian Sophie Chloe Grace "
            "Angela Linh Anh Hanna Yuki Jenny"
        ),
    },
}
# Names that several sons of one family bear, with a second name of their own.
BROTHERS = ("Mohammed", "Muhammad", "Mohammad", "Mohamed")


class Names(msgspec.Struct, frozen=True):
    """Names with their chances."""

    names: NDArray[np.object_]
    chances: NDArray[np.float64]

    def draw(self, random: np.random.Generator, count: int) -> NDArray[np.object_]:
        """`count` names."""
        return self.names[random.choice(len(self.names), count, p=self.chances)]


def _names(weights: dict[str, float]) -> Names:
    chances = np.array(list(weights.values()), np.float64)
    return Names(np.array(list(weights), object), chances / chances.sum())


class Lists(msgspec.Struct, frozen=True):
    """All names by group and sex, and how names get altered. The last is not what the matcher knows."""

    given: dict[tuple[str, str], Names]
    family: dict[str, Names]
    given_variants: dict[str, Names]
    family_variants: dict[str, Names]


def read(folder: Path) -> Lists:
    """The lists of the folder of public data."""
    births = _births(folder)
    given = {
        ("general", sex): _names({name: count for name, count in births[sex].items() if count >= 60})
        for sex in "12"
    }
    for group, sexes in GIVEN.items():
        for sex, names in sexes.items():
            # At least a few of each, also of names that are rare in the country.
            given[group, sex] = _names({name: births[sex].get(name, 0) + 400.0 for name in names.split()})
    family = {"general": _names(_surnames(folder))}
    for group, text in FAMILY.items():
        weights = {name: float(weight) for name, _, weight in (item.partition(":") for item in text.split())}
        # Behind the common names a tail that stands for all that are not written here.
        tail = {
            f"{name}{ending}": 0.05
            for name in weights
            for ending in ("a", "i", "u", "eh", "ani", "zai", "ko", "as")
        }
        family[group] = _names(weights | tail)
    return Lists(
        given,
        family,
        _variants(folder / "sdg_firstname_uk_variant.csv"),
        _variants(folder / "sdg_lastname_uk_variant.csv"),
    )


def _births(folder: Path) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {"1": Counter(), "2": Counter()}
    for row in parquet.read_table(folder / "ew_baby_names_1996_2020.parquet").to_pylist():
        found["1" if row["sex"] == "M" else "2"][row["name"]] += int(row["n"])
    return found


def _surnames(folder: Path) -> dict[str, float]:
    with (folder / "sdg_lastname_uk.csv").open(encoding="utf-8", newline="") as file:
        return {row["surname"].capitalize(): float(row["freq"]) for row in csv.DictReader(file)}


def _variants(path: Path) -> dict[str, Names]:
    found: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for one, other, chance in list(csv.reader(file))[1:]:
            if one != other:
                found.setdefault(one, {})[other] = float(chance)
    return {name: _names(others) for name, others in found.items()}
